"""What this guest has run, on its disk, so that nothing runs twice: written before anything is begun.

The file is a row of the protocol's frames. A torn one at the end is of something that was not begun.
"""

from __future__ import annotations

import os
from typing import Any

from shims.agent.line.wire import WireError, decode, decode_frames, encode
from shims.agent.log import Log

Message = dict[str, Any]

NAME = "records"
_NEW = "records.new"
COMPACT_BYTES = 1 << 20
"""A file larger than this, and twice what it would be, is written anew."""
_SERIALS_IN_ONE = 4000


class Records:
    """Of one ledger and one boot; those of others are forgotten.

    `begun` are those without an end, `ended` those whose end the server has not confirmed, with the fields of `done`.
    """

    def __init__(self, directory: str, boot: str, uuid: str, log: Log) -> None:
        self._directory, self._boot, self._uuid, self._log = directory, boot, uuid, log
        self.ledger = ""
        self.begun: set[int] = set()
        self.ended: dict[int, Message] = {}
        self.confirmed: set[int] = set()
        self._fd = -1
        self._size = 0
        self._least = 0
        """Size of the file when it was last written anew."""
        self._said = ""
        if directory:
            self._load()
            self._rewrite()
        else:
            self._unwritable("there is no place for a file")

    @property
    def is_durable(self) -> bool:
        """They outlive this agent."""
        return self._fd >= 0

    def knows(self, serial: int) -> bool:
        """It has begun or ended here."""
        return serial in self.begun or serial in self.ended or serial in self.confirmed

    def begin(self, serial: int) -> None:
        """To be said before anything is started."""
        self.begun.add(serial)
        self._append({"type": "begun", "serial": serial})

    def end(self, serial: int, done: Message) -> None:
        """What came of it."""
        self.begun.discard(serial)
        self.ended[serial] = done
        self._append({"type": "ended", "serial": serial, "done": done})

    def confirm(self, serial: int) -> None:
        """The server knows the end: only that it ran is kept."""
        if self.ended.pop(serial, None) is not None:
            self.confirmed.add(serial)
            self._append({"type": "confirmed", "serials": [serial]})

    def belong_to(self, ledger: str) -> None:
        """Forget everything unless it is of this ledger."""
        if ledger != self.ledger:
            self.ledger = ledger
            self.begun, self.ended, self.confirmed = set(), {}, set()
            self._rewrite()

    def close(self) -> None:
        """Of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # --- the file

    def _load(self) -> None:
        try:
            with open(os.path.join(self._directory, NAME), "rb", buffering=0, opener=_open_plain) as file:
                content = file.read()
        except OSError:
            return
        try:
            for number, body in enumerate(decode_frames(content)):
                if not self._take(decode(body), first=number == 0):
                    return
        except (WireError, KeyError, TypeError, AttributeError) as error:
            self._log.error(f"the records in {self._directory} end in something else: {error}")

    def _take(self, record: Message, *, first: bool) -> bool:
        """One record; False if the file is of another boot or guest."""
        kind = record["type"]
        if first:
            if kind != "ledger" or (record["boot"], record["uuid"]) != (self._boot, self._uuid):
                return False
            self.ledger = record["ledger"]
        elif kind == "begun":
            self.begun.add(int(record["serial"]))
        elif kind == "ended":
            serial = int(record["serial"])
            self.begun.discard(serial)
            self.ended[serial] = dict(record["done"])
        elif kind == "confirmed":
            for serial in record["serials"]:
                self.ended.pop(serial, None)
                self.confirmed.add(int(serial))
        return True

    def _content(self) -> bytes:
        frames = [encode({"type": "ledger", "boot": self._boot, "uuid": self._uuid, "ledger": self.ledger})]
        confirmed = sorted(self.confirmed)
        for at in range(0, len(confirmed), _SERIALS_IN_ONE):
            frames.append(encode({"type": "confirmed", "serials": confirmed[at : at + _SERIALS_IN_ONE]}))
        frames += [encode({"type": "begun", "serial": serial}) for serial in sorted(self.begun)]
        frames += [encode({"type": "ended", "serial": serial, "done": done}) for serial, done in self.ended.items()]
        return b"".join(frames)

    def _rewrite(self) -> None:
        """A new file in place of the old one, which stays as it is if this fails."""
        if not self._directory:
            return
        content = self._content()
        new = os.path.join(self._directory, _NEW)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(new, flags, 0o600)
        except OSError as error:
            self._unwritable(f"{new}: {error.strerror}")
            return
        try:
            _write_all(fd, content)
            os.rename(new, os.path.join(self._directory, NAME))
        except OSError as error:
            os.close(fd)
            self._unwritable(f"{new}: {error.strerror}")
            return
        self.close()
        self._fd, self._size, self._least = fd, len(content), len(content)
        self._said = ""

    def _append(self, record: Message) -> None:
        if self._fd < 0:
            self._rewrite()  # perhaps there is room again; all that is known goes with it
            return
        frame = encode(record)
        try:
            _write_all(self._fd, frame)
        except OSError as error:
            self._unwritable(f"{os.path.join(self._directory, NAME)}: {error.strerror}")
            try:
                os.ftruncate(self._fd, self._size)  # what comes after half a frame could not be read
            finally:
                self.close()
            return
        self._size += len(frame)
        if self._size > COMPACT_BYTES + 2 * self._least:
            self._rewrite()

    def _unwritable(self, why: str) -> None:
        if why != self._said:
            self._said = why
            self._log.error(f"what has run is remembered only while this agent lives: {why}")


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
