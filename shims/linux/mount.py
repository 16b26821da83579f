"""Names of mount(2), open_tree(2), move_mount(2), fsopen(2) and pivot_root(2), and how overlayfs wants its options."""

from __future__ import annotations

import os
import struct
from typing import Final

from shims.linux.libc import LIBC, encode, raise_errno

# include/uapi/linux/mount.h
MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_NOSYMFOLLOW: Final = 0x100
"""Linux 5.10; before that it is ignored."""
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SLAVE: Final = 0x80000
MS_SHARED: Final = 0x100000
MNT_DETACH: Final = 0x2
UMOUNT_NOFOLLOW: Final = 0x8

AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
OPEN_TREE_CLONE: Final = 0x1
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
MOVE_MOUNT_T_SYMLINKS: Final = 0x10
FSOPEN_CLOEXEC: Final = 0x1
FSMOUNT_CLOEXEC: Final = 0x1
FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_CMD_CREATE: Final = 6
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR_STRICTATIME: Final = 0x20

# glibc has no function for these before 2.36, or none at all. From 424 on a system call has one number everywhere.
SYS_OPEN_TREE: Final = 428
SYS_MOVE_MOUNT: Final = 429
SYS_FSOPEN: Final = 430
SYS_FSCONFIG: Final = 431
SYS_FSMOUNT: Final = 432
SYS_MOUNT_SETATTR: Final = 442
SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(os.uname().machine, -1)


def open_read_only(path: str | bytes) -> int:
    """A descriptor of `path` on a mount of its own that nobody can write through, not even by /proc/PID/exe.

    Raises OSError, also where the kernel cannot (before 5.12).
    """
    tree = int(LIBC.syscall(SYS_OPEN_TREE, AT_FDCWD, encode(path), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC))
    if tree < 0:
        raise_errno(path)
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)  # struct mount_attr
    if LIBC.syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes)) < 0:
        try:
            raise_errno(path)
        finally:
            os.close(tree)
    return tree


def escape_option(path: str | bytes) -> bytes:
    r"""`path` as a value among overlayfs's mount options, where `,` `:` and `\` separate and escape."""
    return os.fsencode(path).replace(b"\\", b"\\\\").replace(b":", b"\\:").replace(b",", b"\\,")
