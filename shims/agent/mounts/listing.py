"""A directory that is read piece by piece, however large it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from shims.agent.mounts import fuse
from shims.agent.mounts.parts import Numbers

_DT_UNKNOWN, _DT_DIR, _DT_REG, _DT_LNK = 0, 4, 8, 10  # readdir(3)

Entry = tuple[bytes, int, int]
"""Name, number of the file, type."""
Look = Callable[[bytes], bytes]


class Listing:
    """One reader of a directory; raises OSError."""

    def __init__(self, path: bytes, numbers: Numbers) -> None:
        self._path, self._numbers = path, numbers
        self._scan = os.scandir(path)
        self._entries = self._all()
        self._next: Entry | None = None
        """The first of the next piece: it did not fit into the last."""
        self._offset = 0

    def close(self) -> None:
        """It is over."""
        self._scan.close()

    def _all(self) -> Iterator[Entry]:
        status = os.lstat(self._path)
        number = self._numbers.of(status.st_dev, status.st_ino)
        yield b".", number, _DT_DIR
        yield b"..", number, _DT_DIR  # the kernel knows better
        for entry in self._scan:
            yield entry.name, self._numbers.of(status.st_dev, entry.inode()), _type(entry)

    def read(self, offset: int, size: int, look: Look | None = None) -> bytes:
        """At most `size` bytes of entries from one on, with what `look` says of each; empty at the end."""
        if offset != self._offset:
            self._go_to(offset)
        found = bytearray()
        while True:
            entry = self._next or next(self._entries, None)
            self._next = entry
            if entry is None:
                return bytes(found)
            name, number, kind = entry
            length = fuse.DIRENT.size + len(name)
            padded = length + -length % 8
            if len(found) + padded + (fuse.ENTRY_SIZE if look else 0) > size:
                return bytes(found)
            self._offset += 1
            self._next = None
            found += look(name) if look else b""
            found += fuse.DIRENT.pack(number, self._offset, len(name), kind) + name + bytes(padded - length)

    def _go_to(self, offset: int) -> None:
        """From the beginning again: the order stays the same as long as nothing changes."""
        if offset < self._offset:
            self._scan.close()
            self._scan = os.scandir(self._path)
            self._entries, self._next, self._offset = self._all(), None, 0
        while self._offset < offset:
            if self._next is None and next(self._entries, None) is None:
                self._offset = offset
                return
            self._next = None
            self._offset += 1


def _type(entry: os.DirEntry[bytes]) -> int:
    if entry.is_symlink():
        return _DT_LNK
    if entry.is_dir(follow_symlinks=False):
        return _DT_DIR
    return _DT_REG if entry.is_file(follow_symlinks=False) else _DT_UNKNOWN
