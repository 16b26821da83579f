"""Reading what the kernel says about itself in files, below any directory: tests can have a kernel of their own."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import Final

MAX_BYTES: Final = 4 * 1024 * 1024
"""Of one file; the list of a distribution's modules has a tenth of that."""
_CHUNK_BYTES: Final = 65_536
"""Files of /proc/sys do not answer to reads of megabytes."""


class Source:
    """The files of a machine whose root directory is `root`."""

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")

    def path(self, path: str) -> str:
        """Where the file of this machine is."""
        return self._root + path

    def is_read_only(self, path: str) -> bool:
        """Whether what it is on is mounted so; False if it is not there."""
        try:
            return bool(os.statvfs(self.path(path)).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    def exists(self, path: str) -> bool:
        """Whether it is there."""
        return os.path.exists(self.path(path))

    def text(self, path: str) -> str:
        """The content, empty if it cannot be read."""
        try:
            with open(self.path(path), "rb") as file:
                parts = iter(lambda: file.read(_CHUNK_BYTES), b"")
                return b"".join(islice(parts, MAX_BYTES // _CHUNK_BYTES)).decode("utf-8", "surrogateescape")
        except OSError:
            return ""

    def number(self, path: str, word: int = 0) -> int | None:
        """One of the numbers in a file; None if there is none."""
        words = self.text(path).split()
        if len(words) <= word or not re.fullmatch(r"-?\d{1,20}", words[word]):
            return None
        return int(words[word])

    def sysctl(self, name: str, word: int = 0) -> int | None:
        """A sysctl by its name with dots."""
        return self.number(sysctl_path(name), word)


def sysctl_path(name: str) -> str:
    """The file of a sysctl."""
    return f"/proc/sys/{name.replace('.', '/')}"
