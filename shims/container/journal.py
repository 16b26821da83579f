"""What the warden must still know after it was killed: `<base>/state/warden/journal`, one JSON object a line.

A record is written before the effect it announces (`Intent`, `Started`, `KillAsked`) or as soon as an outcome is known
(the others). The promise covers the death of any process, not a power failure: nothing here outlives a reboot anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
COMPACT_BYTES: Final = 4 << 20
"""Above this size the file is rewritten."""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of the records."""

    guest_id: int


class Intent(Record, frozen=True, kw_only=True, tag="intent"):
    """A container is about to be cloned."""

    tag: str


class Cloned(Record, frozen=True, kw_only=True, tag="cloned"):
    """It has this process."""

    pid: int
    start_ticks: int


class Built(Record, frozen=True, kw_only=True, tag="built"):
    """It is frozen and its owner is told so."""


class Started(Record, frozen=True, kw_only=True, tag="started"):
    """Its start was asked for and is about to happen."""


class Ran(Record, frozen=True, kw_only=True, tag="ran"):
    """Its init has been executed."""


class KillAsked(Record, frozen=True, kw_only=True, tag="kill"):
    """Its end was asked for."""


class Ended(Record, frozen=True, kw_only=True, tag="ended"):
    """It ended like this; its process and its cgroups are gone."""

    exit: str
    clean: bool = False
    oom_killed: bool = False
    message: str = ""


class Dropped(Record, frozen=True, kw_only=True, tag="dropped"):
    """Nothing of it is left, not even a record: it was never built, or its owner has forgotten it."""


AnyRecord = Intent | Cloned | Built | Started | Ran | KillAsked | Ended | Dropped


class Past(msgspec.Struct, kw_only=True):
    """What the journal says of one container."""

    guest_id: int
    tag: str
    pid: int = 0
    start_ticks: int = 0
    built: bool = False
    started: bool = False
    ran: bool = False
    kill_asked: bool = False
    ended: Ended | None = None


def replay(records: Iterable[AnyRecord]) -> dict[int, Past]:
    """The containers the records tell of, by guest id, without the dropped ones."""
    found: dict[int, Past] = {}
    for record in records:
        if isinstance(record, Intent):
            found[record.guest_id] = Past(guest_id=record.guest_id, tag=record.tag)
        elif (past := found.get(record.guest_id)) is not None:
            _apply(found, past, record)
    return found


def _apply(found: dict[int, Past], past: Past, record: AnyRecord) -> None:
    match record:
        case Cloned(pid=pid, start_ticks=ticks):
            past.pid, past.start_ticks = pid, ticks
        case Built():
            past.built = True
        case Started():
            past.started = True
        case Ran():
            past.ran = True
        case KillAsked():
            past.kill_asked = True
        case Ended():
            past.ended = record
        case Dropped():
            del found[past.guest_id]
        case Intent():  # `replay` has dealt with it
            pass


def condense(past: Past) -> list[AnyRecord]:
    """The shortest records from which `replay` makes `past` again."""
    guest_id = past.guest_id
    records: list[AnyRecord] = [Intent(guest_id=guest_id, tag=past.tag)]
    if past.pid:
        records.append(Cloned(guest_id=guest_id, pid=past.pid, start_ticks=past.start_ticks))
    flags = ((past.built, Built), (past.started, Started), (past.ran, Ran), (past.kill_asked, KillAsked))
    records += [kind(guest_id=guest_id) for flag, kind in flags if flag]
    if past.ended is not None:
        records.append(past.ended)
    return records


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyRecord)


def parse(data: bytes) -> list[AnyRecord]:
    """The records of a journal file; a torn last line and lines that are no records are passed over."""
    records: list[AnyRecord] = []
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(msgspec.MsgspecError):
            records.append(_decoder.decode(line))
    return records


class Journal:
    """The file. Opening it reads what is there and rewrites it in its shortest form, if the disk has room for that."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError where the file cannot be read or made."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / "journal"
        data = self._path.read_bytes() if self._path.exists() else b""
        self.past = replay(parse(data))
        """What an earlier warden left."""
        self._fd = -1
        self._size = 0
        self._torn = False
        try:
            self._rewrite(self.past.values())
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._go_on(data)

    def write(self, record: AnyRecord) -> None:
        """Append one record; it is in the kernel's hands when this returns. Raises OSError, e.g. on a full disk."""
        line = _encoder.encode(record) + b"\n"
        if self._torn:  # the rest of a line that did not fit must not spoil this one
            line = b"\n" + line
        self._torn = True
        if os.write(self._fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._torn = False
        self._size += len(line)

    @property
    def is_large(self) -> bool:
        """True if it is time to call `compact`."""
        return self._size > COMPACT_BYTES

    def compact(self, containers: Iterable[Past]) -> None:
        """Rewrite the file; `containers` are all that still matter. On a full disk the old file goes on."""
        with contextlib.suppress(OSError):
            self._rewrite(containers)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _go_on(self, data: bytes) -> None:
        """Append to what is there: whoever owns containers must be able to start on a full disk."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size, self._torn = len(data), not data.endswith(b"\n") and bool(data)

    def _rewrite(self, containers: Iterable[Past]) -> None:
        data = b"".join(_encoder.encode(record) + b"\n" for past in containers for record in condense(past))
        draft = self._path.with_suffix(".new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
            draft.rename(self._path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                draft.unlink()  # it takes room that is missing
            raise
        self.close()
        self._fd, self._size, self._torn = fd, len(data), False
