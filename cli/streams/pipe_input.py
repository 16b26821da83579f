"""What `minibus pipe` reads from stdin, cut into whole messages. Pure."""

from __future__ import annotations

from bus.pipe_messages import LENGTH, MAX_MESSAGE

READ_BYTES = 65_536
"""A batch has no more, unless one message is longer."""
LONG_READ_BYTES = 1_048_576


class InputError(ValueError):
    """This is no input for a pipe; `str()` is one sentence."""


class Lines:
    """Feed it bytes, take whole lines."""

    framed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """The beginning of a line."""
        self._size = 0

    @property
    def wants(self) -> int:
        """How much to read at once."""
        return READ_BYTES - self._size if self._size < READ_BYTES else LONG_READ_BYTES

    def feed(self, data: bytes) -> bytes:
        """All lines that are complete now; raises InputError if one is too long."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._keep(data)
            return b""
        whole = b"".join((*self._pieces, data[:end]))
        if self._size + data.find(b"\n") > MAX_MESSAGE:
            raise _too_long()
        self._pieces, self._size = [], 0
        self._keep(data[end:])
        return whole

    def end(self) -> bytes:
        """What is left: a last line without its newline."""
        return b"".join((*self._pieces, b"\n")) if self._pieces else b""

    def _keep(self, data: bytes) -> None:
        if data:
            self._pieces.append(data)
            self._size += len(data)
        if self._size > MAX_MESSAGE:
            raise _too_long()


class Frames:
    """Feed it bytes, take whole frames: four bytes of length, big-endian, and as many bytes."""

    framed = True

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needs = LENGTH.size
        """Bytes until the first frame is complete, as far as one can tell."""

    @property
    def wants(self) -> int:
        """How much to read at once."""
        return max(READ_BYTES, min(self._needs - len(self._pending), LONG_READ_BYTES))

    def feed(self, data: bytes) -> bytes:
        """All frames that are complete now; raises InputError if one is too long."""
        self._pending += data
        if len(self._pending) < self._needs:
            return b""
        position = 0
        while True:
            rest = len(self._pending) - position
            if rest < LENGTH.size:
                self._needs = LENGTH.size
                break
            (length,) = LENGTH.unpack_from(self._pending, position)
            if length > MAX_MESSAGE:
                raise _too_long()
            if rest < LENGTH.size + length:
                self._needs = LENGTH.size + length
                break
            position += LENGTH.size + length
        whole = bytes(self._pending[:position])
        del self._pending[:position]
        return whole

    def end(self) -> bytes:
        """Nothing; raises InputError if the input ended within a frame."""
        if self._pending:
            raise InputError("stdin ended within a frame")
        return b""


def _too_long() -> InputError:
    return InputError(f"a message on stdin is longer than {MAX_MESSAGE} bytes")
