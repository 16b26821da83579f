"""What the files actor must not forget: from which URL each file came, and deletions under way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

import msgspec

from actors.files.names import other_name
from bus.actor.step import Effect, Fail, Input, Received, Recovered, Reply, not_understood
from bus.errors import ConflictError
from bus.messages.base import Ack
from bus.messages.files import DeleteFiles
from shims.files.file_area import Found, Name


class Origin(msgspec.Struct, frozen=True):
    """A file as it was when it had been downloaded."""

    digest: str
    """Of the URL; the URL itself may have a key in it."""
    inode: int
    size_bytes: int
    mtime_ns: int

    def is_of(self, found: Found) -> bool:
        """Whether it is still that file; if not, a user has put or written it, and it is what the user says it is."""
        return (found.inode, found.size_bytes, found.mtime_ns) == (self.inode, self.size_bytes, self.mtime_ns)


class FileTable(msgspec.Struct):
    """The durable state."""

    origins: dict[str, Origin] = {}
    """By name in the area. A record may outlive its file."""
    deleting: dict[str, str] = {}
    """Request to what it deletes."""


class Fetched(Input, frozen=True, kw_only=True, tag="fetched"):
    """A download is complete and about to be put in its place."""

    name: str
    origin: Origin


class Vanished(Input, frozen=True, kw_only=True, tag="vanished"):
    """There are no such files any more."""

    names: tuple[str, ...]


class Deleted(Input, frozen=True, kw_only=True, omit_defaults=True, tag="deleted"):
    """A deletion has come to its end."""

    msg_id: str
    code: str = ""
    error: str = ""


class Delete(Effect, frozen=True, kw_only=True):
    """Delete what a pattern means, then feed `Deleted`."""

    msg_id: str
    pattern: str


def step(table: FileTable, inp: Input) -> list[Effect]:
    """Changes `table` in place."""
    match inp:
        case Received(msg_id=msg_id, body=DeleteFiles(pattern=pattern)):
            table.deleting[msg_id] = pattern
            return [Delete(msg_id=msg_id, pattern=pattern)]
        case Received():
            return [not_understood("files", inp)]
        case Deleted(msg_id=msg_id, code=code, error=error):
            del table.deleting[msg_id]
            return [Fail(msg_id=msg_id, code=code, message=error) if error else Reply(msg_id=msg_id, body=Ack())]
        case Fetched(name=name, origin=origin):
            table.origins[name] = origin
        case Vanished(names=names):
            for name in names:
                table.origins.pop(name, None)
        case Recovered():
            return [Delete(msg_id=msg_id, pattern=pattern) for msg_id, pattern in table.deleting.items()]
        case _:
            pass
    return []


class Choice(NamedTuple):
    """Where the file of a URL is, or where it has to go."""

    name: Name
    is_there: bool


class _Place(Enum):
    FREE = 1
    OURS = 2
    TAKEN = 3


def choose(
    wanted: Name,
    digest: str,
    find: Callable[[Name], Found | None],
    origins: Mapping[str, Origin],
    under_way: Mapping[Name, str],
) -> Choice:
    """Find the file of a URL, or its place. Raises ConflictError if there is none.

    That is the path of the URL; if something from another URL is there, a name beside it, always the same one.
    `under_way` has the places of downloads, with the digests of their URLs.
    """

    def place(name: Name) -> _Place:
        if name in under_way:
            return _Place.FREE if under_way[name] == digest else _Place.TAKEN
        found = find(name)
        if found is None:
            return _Place.FREE
        origin = origins.get("/".join(name))
        if not found.is_file or (origin is not None and origin.is_of(found) and origin.digest != digest):
            return _Place.TAKEN
        return _Place.OURS

    candidates = (wanted, other_name(wanted, digest))
    places = [place(name) for name in candidates]
    for looked_for in (_Place.OURS, _Place.FREE):
        if looked_for in places:
            return Choice(candidates[places.index(looked_for)], looked_for is _Place.OURS)
    raise ConflictError(f"`{'/'.join(wanted)}` and the name beside it are taken by something else")
