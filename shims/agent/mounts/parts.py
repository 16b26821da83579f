"""Pieces of FUSE requests and replies: names, attributes, times."""

from __future__ import annotations

import errno
import os
import time

from shims.agent.mounts import fuse

_MASK = 2**64 - 1
_SPREAD = 0x9E3779B97F4A7C15
"""The golden ratio of 64 bits: multiples of it differ in all of them."""


class Numbers:
    """Numbers of files that differ between file systems: for the host all of them are one.

    Programs that find the same number twice take it for a hard link, or for a loop of directories.
    """

    def __init__(self) -> None:
        self._devices: dict[int, int] = {}

    def of(self, device: int, number: int) -> int:
        """Of the file system that was met first the numbers are as they are."""
        index = self._devices.setdefault(device, len(self._devices))
        return (number ^ index * _SPREAD) & _MASK or _MASK


def attributes(status: os.stat_result, numbers: Numbers) -> bytes:
    """Of a file, as they travel; what was before 1970 was in 1970."""
    moments = [max(0, moment) for moment in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)]
    return fuse.ATTR.pack(
        numbers.of(status.st_dev, status.st_ino),
        status.st_size,
        status.st_blocks,
        *(moment // 10**9 for moment in moments),
        *(moment % 10**9 for moment in moments),
        status.st_mode,
        status.st_nlink & 0xFFFFFFFF,
        status.st_uid,
        status.st_gid,
        status.st_rdev & 0xFFFFFFFF,
        status.st_blksize & 0xFFFFFFFF,
        0,
    )


def times(which: int, status: os.stat_result, atime_ns: int, mtime_ns: int) -> tuple[int, int]:
    """To be set: those that are not given stay, and `now` is this guest's."""
    now_ns = time.time_ns()
    atime_ns = now_ns if which & fuse.FATTR_ATIME_NOW else atime_ns
    mtime_ns = now_ns if which & fuse.FATTR_MTIME_NOW else mtime_ns
    return (
        atime_ns if which & fuse.FATTR_ATIME else status.st_atime_ns,
        mtime_ns if which & fuse.FATTR_MTIME else status.st_mtime_ns,
    )


def names_in(body: bytes) -> tuple[bytes, bytes]:
    """Two texts that end with a zero byte; raises ValueError."""
    first, second, rest = body.split(b"\0", 2)
    if rest:
        raise ValueError("more than two names")
    return first, second


def name_in(body: bytes) -> bytes:
    """A name in a directory that ends with a zero byte; raises as `checked`."""
    name, rest = body.split(b"\0", 1)
    if rest:
        raise ValueError("more than a name")
    return checked(name)


def checked(name: bytes) -> bytes:
    """A name that leads nowhere else; raises ValueError, or OSError if it is too long."""
    if name in (b"", b".", b"..") or b"/" in name:
        raise ValueError("no name")
    if len(name) > fuse.MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, "")
    return name


class ExactMode:
    """What is made meanwhile has the mode that was asked for: the mask of who asked has been applied on the host."""

    def __enter__(self) -> None:
        self._mask = os.umask(0)

    def __exit__(self, *_: object) -> None:
        os.umask(self._mask)
