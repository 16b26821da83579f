"""The file area of a host: finding files in it and fetching others into it."""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


class LocalFile(Message, frozen=True, kw_only=True, omit_defaults=True, tag="files.file"):
    """A file that is there now."""

    path: str
    """Absolute."""
    size_bytes: int = 0


class GetFile(Request[LocalFile], frozen=True, kw_only=True, tag="files.get"):
    """Have a file or directory of the area here, once a download of it has ended.

    `not_found` if nobody has it, `invalid` if the name is none or leads out of the area.
    """

    name: str
    """Relative to the file area; a leading slash is ignored, `..` goes no higher than the area."""


class FetchUrl(Request[LocalFile], frozen=True, kw_only=True, tag="files.fetch"):
    """Have what is at an http or https URL in the file area, downloading it if it is not there yet.

    It goes where the path of the URL says. A file that a user has put there is taken for it; beside one that came from
    another URL it gets another name. `unavailable` and the reason if it cannot be downloaded, `invalid` if the URL
    names no file, `conflict` if something is in its way; nothing half-done stays.
    """

    url: str
    """With user and password if it takes them; they are written down nowhere."""


class Transfer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A download under way, or one that failed lately."""

    source: str
    """URL, without user, password and query."""
    path: str
    """Where it goes, relative to the file area."""
    done_bytes: int
    total_bytes: int = -1
    """-1 if the other side does not say."""
    queued: bool = False
    """It waits until fewer others are under way."""
    temporary: str = ""
    """Directory in which it grows; empty while it does not."""
    error: str = ""
    """Why it failed; empty while it goes on."""


class TransferList(Message, frozen=True, kw_only=True, tag="files.transfers"):
    """Downloads: those under way, those that wait, the last failures."""

    transfers: tuple[Transfer, ...]


class GetTransfers(Query[TransferList], frozen=True, kw_only=True, tag="files.transfers.get"):
    """What is being downloaded?"""


class TransferChanged(Event, frozen=True, kw_only=True, tag="files.transfer.changed"):
    """A download began, came further (at most once a second), ended or failed; on `file/<host>/<what>/`."""

    transfer: Transfer


class FileNames(Message, frozen=True, kw_only=True, tag="files.names"):
    """Names in the file area; a directory ends in a slash."""

    names: tuple[str, ...]


class MatchFiles(Query[FileNames], frozen=True, kw_only=True, tag="files.match"):
    """Which names begin so? One level of directories, at most 1,000 names, sorted."""

    prefix: str
    """As typed; every name begins with it, so a leading slash is kept."""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something in a directory of the file area."""

    name: str
    """Without the directories above it; bytes that are not UTF-8 are written as `\\xff`."""
    size_bytes: int
    is_directory: bool = False


class FileList(Message, frozen=True, kw_only=True, omit_defaults=True, tag="files.list"):
    """The content of a directory, sorted by name."""

    entries: tuple[FileEntry, ...]
    left_out: int = 0
    """How many more there are."""


class ListFiles(Query[FileList], frozen=True, kw_only=True, omit_defaults=True, tag="files.list.get"):
    """What is in a directory of the area, up to 50,000 entries? Of a file the file itself; `not_found` if neither."""

    path: str = "/"
    """As `name` of GetFile; `/` is the area itself."""


class GetFiles(Request[FileNames], frozen=True, kw_only=True, tag="files.get_matching"):
    """Have all files and directories here that a pattern means.

    The reply has up to 5,000 of the names. `not_found` if nobody has any, `conflict` if one is being downloaded.
    """

    pattern: str
    """As `name` of GetFile; `*`, `?` and `[a-c]` stand for characters between slashes."""


class DeleteFiles(Request[Ack], frozen=True, kw_only=True, tag="files.delete"):
    """Remove from this host what a pattern means, directories with all in them; nothing there is no failure."""

    pattern: str
    """As in GetFiles; `/` means everything in the area."""
