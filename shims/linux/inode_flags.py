"""Inode flags (ioctl_iflags(2), chattr(1)): hints to the file system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

# include/uapi/linux/fs.h: the ioctls carry the size of a long, and read and write an int.
_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_IOC_SETFLAGS: Final = 0x40086602
_FS_TOPDIR_FL: Final = 0x00020000


def spread_subdirectories(directory: Path) -> None:
    """Tell the file system that the directories in `directory` have nothing to do with each other.

    ext4 then puts each into another block group. It looks for a free inode from the start of the group, past all that
    were deleted in the last minutes, so that after some thousand guests have come and gone in one group, a new file
    costs a hundred times as much as its creation (measured: seven inodes in 400 µs instead of 75). Other file systems
    do not know the hint, and then nothing happens.
    """
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (flags,) = struct.unpack("i4x", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))
            if not flags & _FS_TOPDIR_FL:
                fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("i4x", flags | _FS_TOPDIR_FL))
        finally:
            os.close(fd)
