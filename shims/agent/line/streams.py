"""Bytes on their way to the server: kept until they are acknowledged, sent again from wherever it wants."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from shims.agent.line.wire import CHUNK

Message = dict[str, Any]

CATCH_UP_BYTES = 4 * 1024 * 1024


class OutStream(ABC):
    """One stream of one command. `held` ones wait for the server to say from where on (`want`)."""

    def __init__(self, serial: int, name: str, *, held: bool) -> None:
        self.serial, self.name = serial, name
        self.acknowledged = 0
        self._sent = 0
        self._held = held
        self._eof_sent = False

    @property
    def is_sent(self) -> bool:
        """To the end, in this session."""
        return self._eof_sent

    def hold(self) -> None:
        """The session has ended."""
        self._held = True
        self._eof_sent = False

    def want(self, offset: int) -> None:
        """Go on from there; raises ValueError for bytes that are no longer or not yet there."""
        if not self._can_go_to(offset):
            raise ValueError(f"{self.name} of {self.serial} has no byte {offset}")
        self._sent = offset
        self.acknowledge(offset)
        self._held = False
        self._eof_sent = False

    def acknowledge(self, offset: int) -> None:
        """Everything before is written."""
        if offset > self._sent:
            raise ValueError(f"byte {offset} of {self.name} of {self.serial} was never sent")
        self.acknowledged = max(self.acknowledged, offset)

    def next_data(self, window: int) -> Message | None:
        """The next frame, if there is one and it fits into the window."""
        room = min(CHUNK, self.acknowledged + window - self._sent)
        if self._held or self._eof_sent or room <= 0:
            return None
        data, eof = self._read(self._sent, room)
        if not data and not eof:
            return None
        message = {"type": "data", "serial": self.serial, "stream": self.name, "offset": self._sent, "data": data}
        self._sent += len(data)
        self._eof_sent = eof
        return {**message, "eof": eof}

    def data_sent(self) -> None:  # noqa: B027  memory only needs to know the end
        """The frame of `next_data` is on its way."""

    @abstractmethod
    def _can_go_to(self, offset: int) -> bool:
        """This byte is there."""

    @abstractmethod
    def _read(self, offset: int, most: int) -> tuple[bytes, bool]:
        """Bytes at `offset`, and whether these are the last."""


class BufferStream(OutStream):
    """Output of a program, in memory. `on_sent` is called when the end is on its way, `on_room` when more fits."""

    def __init__(self, serial: int, name: str, *, held: bool, on_sent: Callable[[], None]) -> None:
        super().__init__(serial, name, held=held)
        self._buffer = bytearray()
        self._begin = 0
        self._ended = False
        self._is_wanted = True
        self._on_sent = on_sent
        self.on_room: Callable[[], None] | None = None

    @property
    def total(self) -> int:
        """Bytes so far."""
        return self._begin + len(self._buffer)

    def room(self, window: int) -> int:
        """What may be added without keeping more than a window."""
        return max(0, window - len(self._buffer))

    def add(self, data: bytes) -> None:
        """More output."""
        if self._is_wanted:
            self._buffer += data
        else:
            self._begin += len(data)

    def end(self) -> None:
        """That was all."""
        self._ended = True

    def give_up(self) -> None:
        """The server takes no more of it: the program goes on all the same."""
        self._is_wanted = False
        self._begin = self.total
        self._buffer.clear()
        if self.on_room is not None:
            self.on_room()

    @property
    def is_sent(self) -> bool:
        """To the end, in this session, or as far as the server wants it."""
        return self._eof_sent or not self._is_wanted

    def next_data(self, window: int) -> Message | None:
        """As ever, while it is wanted."""
        return super().next_data(window) if self._is_wanted else None

    def acknowledge(self, offset: int) -> None:
        """What is acknowledged is forgotten."""
        super().acknowledge(offset)
        if offset > self._begin:
            del self._buffer[: offset - self._begin]
            self._begin = offset
            if self.on_room is not None:
                self.on_room()

    def data_sent(self) -> None:
        """Tell who waits for the end."""
        if self.is_sent:
            self._on_sent()

    def _can_go_to(self, offset: int) -> bool:
        return self._begin <= offset <= self.total

    def _read(self, offset: int, most: int) -> tuple[bytes, bool]:
        at = offset - self._begin
        data = bytes(self._buffer[at : at + most])
        return data, self._ended and offset + len(data) == self.total


class FileStream(OutStream):
    """A file that the server gets: what is in it from its beginning to the size it had when it was found."""

    def __init__(
        self,
        serial: int,
        index: int,
        fd: int,
        size: int,
        *,
        on_sent: Callable[[str], None],
        on_failed: Callable[[str], None],
    ) -> None:
        super().__init__(serial, f"file/{index}", held=True)
        self.index, self.fd, self.size = index, fd, size
        self._on_sent, self._on_failed = on_sent, on_failed
        self._digest = hashlib.sha256()
        self._digested = 0

    def catch_up(self, offset: int) -> bool:
        """Read a piece of what comes before `offset` for the digest; False if there is no more to read.

        The server has this from an earlier start of the agent. Raises OSError.
        """
        if self._digested >= offset:
            return False
        self._update(os.pread(self.fd, min(CATCH_UP_BYTES, offset - self._digested), self._digested))
        return True

    def want(self, offset: int) -> None:
        """As ever; what an earlier start of the agent has sent counts as sent."""
        if self._can_go_to(offset):
            self._sent = max(self._sent, offset)
        super().want(offset)

    def next_data(self, window: int) -> Message | None:
        """As ever; what cannot be read is told."""
        try:
            return super().next_data(window)
        except OSError as error:
            self._on_failed(error.strerror or str(error))
            return None

    def _can_go_to(self, offset: int) -> bool:
        return offset <= self.size

    def _read(self, offset: int, most: int) -> tuple[bytes, bool]:
        data = os.pread(self.fd, min(most, self.size - offset), offset)
        if offset == self._digested and offset < self.size:
            self._update(data)
        return data, offset + len(data) >= self.size

    def _update(self, data: bytes) -> None:
        if not data:
            raise OSError(0, "it has become shorter while it was read")
        self._digest.update(data)
        self._digested += len(data)

    def data_sent(self) -> None:
        """With the end goes the digest."""
        if self.is_sent:
            self._on_sent(self._digest.hexdigest())
