"""The kernel's FUSE protocol, version 7.31 (linux/fuse.h), as far as mounts of guests use it; for both ends.

Numbers have the byte order of the machine. The server's host answers the beginning of a connection itself, so that the
guest has no say in what is agreed with the kernel; only what is in `FORWARDED` ever reaches the guest.
"""

from __future__ import annotations

import struct

VERSION = (7, 31)
ROOT_ID = 1
MAX_IO = 64 * 1024
"""Bytes of one read or write, at most."""
MAX_REQUEST = MAX_IO + 4096
"""A request or a reply, at most: a header, two names or one path, or data."""
MAX_NAME = 255

HEADER_IN = struct.Struct("=IIQQIIIHH")
"""Length, operation, number, node, user, group, process, two that are 0."""
HEADER_OUT = struct.Struct("=IiQ")
"""Length, error as a negative errno or 0, number."""

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18
FSYNC, INIT, OPENDIR, READDIR, RELEASEDIR, CREATE, INTERRUPT, DESTROY = 20, 26, 27, 28, 29, 35, 36, 38
BATCH_FORGET, READDIRPLUS = 42, 44

SILENT = frozenset((FORGET, BATCH_FORGET))
"""They have no reply."""
FORWARDED = SILENT | {
    *(LOOKUP, GETATTR, SETATTR, READLINK, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE),
    *(STATFS, RELEASE, FSYNC, OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, CREATE),
}
"""What guests serve; the kernel does without the others, once it has been told that they are not there (ENOSYS)."""

FORGET_IN = struct.Struct("=Q")
BATCH_FORGET_IN = struct.Struct("=II")
FORGET_ONE = struct.Struct("=QQ")
GETATTR_IN = struct.Struct("=IIQ")
SETATTR_IN = struct.Struct("=IIQQQQQQIIIIIIII")
"""Which, -, handle, size, lock owner, atime, mtime, ctime, and their nanoseconds, mode, -, user, group, -."""
MKNOD_IN = struct.Struct("=IIII")
MKDIR_IN = struct.Struct("=II")
RENAME_IN = struct.Struct("=Q")
LINK_IN = struct.Struct("=Q")
OPEN_IN = struct.Struct("=II")
CREATE_IN = struct.Struct("=IIII")
READ_IN = struct.Struct("=QQIIQII")
WRITE_IN = READ_IN
HANDLE_IN = struct.Struct("=QII")
"""The beginning of what closes and writes to the disk."""
INIT_IN = struct.Struct("=IIII")

ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
"""Number, size, blocks, atime, mtime, ctime, and their nanoseconds, mode, links, user, group, device, block size, -."""
ATTR_OUT = struct.Struct("=QII")
ENTRY_OUT = struct.Struct("=QQQQII")
"""Node, generation, for how many seconds name and attributes are good, and their nanoseconds. Then attributes."""
ENTRY_SIZE = ENTRY_OUT.size + ATTR.size
OPEN_OUT = struct.Struct("=QII")
WRITE_OUT = struct.Struct("=II")
STATFS_OUT = struct.Struct("=QQQQQIII28x")
DIRENT = struct.Struct("=QQII")
INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")

GETATTR_FH = 1
FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE, FATTR_ATIME, FATTR_MTIME, FATTR_FH = 1, 2, 4, 8, 16, 32, 64
FATTR_ATIME_NOW, FATTR_MTIME_NOW = 128, 256
FOPEN_DIRECT_IO = 1

# What is agreed: several reads at once, O_TRUNC with the opening, pages that are dropped when a file has changed in the
# guest, names with their attributes where somebody seems to want both, several looks into a directory at once, and
# requests of more than one page.
_ASYNC_READ, _ATOMIC_O_TRUNC, _BIG_WRITES, _AUTO_INVAL_DATA = 1 << 0, 1 << 3, 1 << 5, 1 << 12
_DO_READDIRPLUS, _READDIRPLUS_AUTO, _PARALLEL_DIROPS, _MAX_PAGES = 1 << 13, 1 << 14, 1 << 18, 1 << 22
_FLAGS = _ASYNC_READ | _ATOMIC_O_TRUNC | _BIG_WRITES | _AUTO_INVAL_DATA
_FLAGS |= _DO_READDIRPLUS | _READDIRPLUS_AUTO | _PARALLEL_DIROPS | _MAX_PAGES
_BACKGROUND = 32
_MAX_ERRNO = 512
"""From here on they are the kernel's own."""


def reply(unique: int, data: bytes = b"") -> bytes:
    """A success."""
    return HEADER_OUT.pack(HEADER_OUT.size + len(data), 0, unique) + data


def refusal(unique: int, error: int) -> bytes:
    """An error, by its errno."""
    return HEADER_OUT.pack(HEADER_OUT.size, -error, unique)


def answered(data: bytes) -> int:
    """The number of the request that this is a reply to; 0, which no request has, if it is no reply."""
    if len(data) < HEADER_OUT.size or len(data) > MAX_REQUEST:
        return 0
    length, error, unique = HEADER_OUT.unpack_from(data)
    if length != len(data) or not -_MAX_ERRNO < error <= 0 or (error and length != HEADER_OUT.size):
        return 0
    return int(unique)


def agreed(unique: int, request: bytes, page_size: int) -> bytes | None:
    """The answer to the kernel's `INIT`; None if it is of another time."""
    if len(request) < INIT_IN.size:
        return None
    major, minor, ahead, offered = INIT_IN.unpack_from(request)
    if major != VERSION[0] or minor < VERSION[1]:
        return None
    pages = max(1, MAX_IO // page_size)
    half = _BACKGROUND * 3 // 4
    flags = _FLAGS & offered
    return reply(unique, INIT_OUT.pack(*VERSION, ahead, flags, _BACKGROUND, half, MAX_IO, 1, pages, 0, 0))
