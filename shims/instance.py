"""Instance directories: `<base>/<id>/` with the files that other programs read (`config`, `name`, `state`).

`config` and `name` are written once. `state` changes often, and replacing it by rename costs thirty times as much as
writing in place (ext4 allocates and flushes at once what a rename puts over a file), so it is written in place by one
call and cut to its length by the next.
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
MOVED = ".removing-"


def prepare(directory: Path, *, name: str, config: str, state: str) -> None:
    """Make the directory (0700) with its files; one that is there is brought up to date. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    for file, text in (("config", config), ("name", name), ("state", state)):
        _write(directory / file, text)


def write_state(directory: Path, state: str) -> None:
    """Write the state file; raises OSError."""
    _write(directory / "state", state)


def highest_id(base: Path) -> int:
    """The largest id that has an instance directory; -1 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return max((int(name) for name in os.listdir(base) if name.isascii() and name.isdecimal()), default=-1)
    return -1


def remove(directory: Path) -> None:
    """Remove the directory and all below it; raises OSError, and can be repeated. One that is gone is no error.

    Guests write into it, so neither depth nor path lengths have a bound: subdirectories are moved up and emptied one
    after the other, without recursion and with two descriptors.
    """
    # Unlike those of an earlier attempt that was interrupted.
    aside = (f"{MOVED}{time.monotonic_ns()}-{number}" for number in itertools.count())
    try:
        top = os.open(directory, DIRECTORY)
    except FileNotFoundError:
        return
    try:
        while names := os.listdir(top):
            for name in names:
                _remove_entry(top, name, aside)
    finally:
        os.close(top)
    os.rmdir(directory)


def _remove_entry(top: int, name: str, aside: Iterator[str]) -> None:
    """Remove one entry of the top directory; its subdirectories become entries of the top directory themselves."""
    try:
        inner = os.open(name, DIRECTORY, dir_fd=top)
    except OSError:  # not a directory, or a link to one
        os.unlink(name, dir_fd=top)
        return
    try:
        with os.scandir(inner) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    os.rename(entry.name, next(aside), src_dir_fd=inner, dst_dir_fd=top)
                else:
                    os.unlink(entry.name, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        data = text.encode("utf-8", "surrogateescape")
        if os.pwrite(fd, data, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
