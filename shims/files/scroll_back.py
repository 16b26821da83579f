"""The scroll-back of one console: its last output in memory, and in a file from which a restarted process goes on.

The file is a ring behind a header. Data is written first and the header then tells of it; the ring is larger than what
counts, so that a write without its header has damaged nothing that does. Writes go to the page cache, two a piece.
Between both is how much each of the last viewers has typed, so that what one of them repeats is not typed twice.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import struct
import time
from pathlib import Path
from typing import Final

KEPT_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 8 * 1024
"""Of one write at most."""
NOISE_BYTES: Final = 4096
"""How far a viewer's beginning is moved to find the beginning of a line."""
_RING: Final = KEPT_BYTES + PIECE_BYTES
TYPISTS: Final = 8
"""Viewers of which is known how much they have typed."""
_HEADER: Final = struct.Struct("<8s16sQ")
_TYPIST: Final = struct.Struct("<8sQ")
_RING_AT: Final = _HEADER.size + TYPISTS * _TYPIST.size
_MAGIC: Final = b"scroll-2"
_RETRY_S: Final = 1.0
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class ScrollBack:
    """The stream of one console: bytes numbered from 0, the last `KEPT_BYTES` of them kept."""

    def __init__(self, path: Path) -> None:
        """A stream without any bytes yet; what an earlier one has left at the path is removed."""
        self.stream = secrets.token_hex(8)
        self.end = 0
        """How many bytes there have been."""
        self._path = path
        self._kept = bytearray()
        self._file = -1
        self._written = 0
        """How many bytes the file knows of."""
        self._retry_at_s = 0.0
        self._typed: dict[bytes, int] = {}
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> ScrollBack:
        """The stream that a file holds; a new one if it holds none."""
        try:
            content = path.read_bytes()
        except OSError:
            return cls(path)
        if len(content) < _RING_AT:
            return cls(path)
        magic, stream, end = _HEADER.unpack_from(content)
        ring = content[_RING_AT:]
        if magic != _MAGIC or len(ring) != _RING:
            return cls(path)
        found = cls.__new__(cls)
        found.stream = stream.decode("ascii", "replace")
        found.end = found._written = end
        found._path, found._file, found._retry_at_s = path, -1, 0.0
        found._typed = {
            name: count for name, count in _TYPIST.iter_unpack(content[_HEADER.size : _RING_AT]) if any(name)
        }
        place = end % _RING
        found._kept = bytearray((ring[place:] + ring[:place])[_RING - min(end, KEPT_BYTES) :])
        return found

    @property
    def begin(self) -> int:
        """Number of the oldest byte that is kept."""
        return self.end - len(self._kept)

    def append(self, data: bytes) -> None:
        """The console has said more. A file that cannot be written is tried again a second later."""
        self._kept += data
        self.end += len(data)
        del self._kept[:-KEPT_BYTES]
        if self._retry_at_s and time.monotonic() < self._retry_at_s:
            return
        try:
            self._mirror()
            self._retry_at_s = 0.0
        except OSError:
            self._retry_at_s = time.monotonic() + _RETRY_S

    def read(self, after: int, limit: int = KEPT_BYTES) -> tuple[int, bytes]:
        """Bytes from number `after` on, or from the first line that is kept if that one is gone; and its number."""
        offset = after if self.begin <= after <= self.end else self.first_line()
        start = offset - self.begin
        with memoryview(self._kept) as kept:
            return offset, bytes(kept[start : start + limit])

    def first_line(self) -> int:
        """Number of the byte with which the oldest whole line begins; else of one that does not split a character."""
        if self.begin == 0:
            return 0
        newline = self._kept.find(b"\n", 0, NOISE_BYTES)
        if newline >= 0:
            return self.begin + newline + 1
        skipped = next((n for n, byte in enumerate(self._kept[:4]) if byte & 0xC0 != 0x80), 0)
        return self.begin + skipped

    def typed(self, viewer: str) -> int | None:
        """How many bytes a viewer has typed; None if that is not known, because there were too many since."""
        known = self._typed.get(_short(viewer))
        return 0 if known is None and len(self._typed) < TYPISTS else known

    def note_typed(self, viewer: str, count: int) -> None:
        """A viewer has typed so many bytes in all."""
        self._typed.pop(_short(viewer), None)
        if len(self._typed) == TYPISTS:
            del self._typed[next(iter(self._typed))]
        self._typed[_short(viewer)] = count
        with contextlib.suppress(OSError):  # then what is repeated after a crash would be typed twice
            self._open()
            os.pwrite(self._file, b"".join(_TYPIST.pack(*item) for item in self._typed.items()), _HEADER.size)

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # --- the file

    def _open(self) -> None:
        if self._file < 0:
            self._file = os.open(self._path, _FLAGS, 0o600)
            os.ftruncate(self._file, _RING_AT + _RING)
            self._write_header(self._written)

    def _mirror(self) -> None:
        """Bring the file up to date; raises OSError."""
        self._open()
        position = max(self._written, self.begin)
        if position > self._written or self.end - position > PIECE_BYTES:
            self._write_header(0)  # it has missed something: what it holds does not count until it has caught up
        while position < self.end:
            _, piece = self.read(position, PIECE_BYTES)
            place = position % _RING
            first = piece[: _RING - place]
            self._write(first, place)
            self._write(piece[len(first) :], 0)
            position += len(piece)
        self._write_header(self.end)
        self._written = self.end

    def _write(self, data: bytes, place: int) -> None:
        if data and os.pwrite(self._file, data, _RING_AT + place) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write_header(self, end: int) -> None:
        os.pwrite(self._file, _HEADER.pack(_MAGIC, self.stream.encode(), end), 0)


def _short(viewer: str) -> bytes:
    return hashlib.blake2b(viewer.encode("utf-8", "surrogatepass"), digest_size=8).digest()
