"""Instance directories: `<base>/<id>/` with the files that other programs read (`config`, `name`, `state`, `taps`).

`name` is written once, `config` and `taps` when interfaces change. `state` changes often, and replacing it by rename
costs thirty times as much as writing in place (ext4 allocates and flushes at once what a rename puts over a file), so
it is written in place by one call and cut to its length by the next.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
STATE = "state"
CONFIG = "config"
TAPS = "taps"
"""The devices of its interfaces, one name a line."""
MOVED = ".removing-"
MAX_DEPTH = 16
"""Of recursion, and so of open descriptors."""


def prepare(directory: Path, *, name: str, config: str, state: str) -> None:
    """Make the directory (0700) with its files; one that is there is brought up to date. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    for file, text in ((CONFIG, config), ("name", name), (STATE, state)):
        _write(directory / file, text)


def write(directory: Path, file: str, text: str) -> None:
    """Write one of the files; raises OSError."""
    _write(directory / file, text)


def highest_id(base: Path) -> int:
    """The largest id that has an instance directory; -1 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return max((int(name) for name in os.listdir(base) if name.isascii() and name.isdecimal()), default=-1)
    return -1


def remove(directory: Path) -> None:
    """Remove the directory and all below it; raises OSError, and can be repeated. One that is gone is no error.

    Guests write into it, so neither depth nor path lengths have a bound: what lies deeper than `MAX_DEPTH` is moved up
    to the top and emptied from there.
    """
    # Unlike those of an earlier attempt that was interrupted.
    aside = (f"{MOVED}{time.monotonic_ns()}-{number}" for number in itertools.count())
    try:
        top = os.open(directory, DIRECTORY)
    except FileNotFoundError:
        return
    try:
        while _empty(top, top, aside, 0):
            pass
    finally:
        os.close(top)
    os.rmdir(directory)


def _empty(fd: int, top: int, aside: Iterator[str], depth: int) -> bool:
    """Remove all entries of one directory; says whether any had to be moved up."""
    moved = False
    with os.scandir(fd) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=fd)
            elif depth == MAX_DEPTH:
                os.rename(entry.name, next(aside), src_dir_fd=fd, dst_dir_fd=top)
                moved = True
            else:
                inner = os.open(entry.name, DIRECTORY, dir_fd=fd)
                try:
                    moved |= _empty(inner, top, aside, depth + 1)
                finally:
                    os.close(inner)
                os.rmdir(entry.name, dir_fd=fd)
    return moved


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        data = text.encode("utf-8", "surrogateescape")
        if os.pwrite(fd, data, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
