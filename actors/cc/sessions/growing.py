"""A file of a guest on its way to the disk."""

from __future__ import annotations

import hashlib
import os

from actors.cc.protocol import frames
from shims.files.responses import GuestPath


class Growing:
    """See the module. Owns the descriptor."""

    def __init__(self, announced: frames.File, path: GuestPath, name: str, fd: int) -> None:
        self.announced = announced
        self.path = path
        self.name = name
        self.fd = fd
        self.position = 0
        self.digest = hashlib.sha256()
        self.ready = False
        """Not so while the part from before is being read again."""
        self.closed = False

    def close(self) -> None:
        """Nobody wants it, or it is whole."""
        self.closed = True
        os.close(self.fd)

    def read_again(self, fd: int) -> None:
        """Take in what is there from before, unless nobody wants it any more; blocks."""
        size = min(os.fstat(fd).st_size, self.announced.size)
        while self.position < size and not self.closed:
            piece = os.pread(fd, min(1 << 20, size - self.position), self.position)
            if not piece:
                break
            self.digest.update(piece)
            self.position += len(piece)
