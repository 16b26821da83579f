"""Mounting: mount(2), umount2(2), pivot_root(2), open_tree(2), move_mount(2) and openat2(2)."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

from shims.linux.libc import LIBC, encode, raise_errno

# include/uapi/linux/mount.h
MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MS_SLAVE: Final = 0x80000
MS_STRICTATIME: Final = 0x1000000
MNT_DETACH: Final = 0x2

_AT_FDCWD: Final = -100
_OPEN_TREE_CLONE: Final = 0x1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4

# System calls from 424 on have one number on every architecture (Documentation: syscall_user.tbl); older ones do not.
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_OPENAT2: Final = 437
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(os.uname().machine, -1)

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_IN_ROOT: Final = 0x10

_mount: Any = LIBC.mount
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2: Any = LIBC.umount2
_umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_syscall: Any = LIBC.syscall


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def mount(
    source: str | bytes, target: str | bytes, fstype: bytes | None, flags: int = 0, data: bytes | None = None
) -> None:
    """mount(2); the path in an error is the target."""
    if _mount(encode(source), encode(target), fstype, flags, data) != 0:
        raise_errno(target)


def bind(source: str | bytes, target: str | bytes, *, recursive: bool = False) -> None:
    """Show `source` at `target` as well; without `recursive`, what is mounted below `source` is left out."""
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))


def umount(target: str | bytes, flags: int = 0) -> None:
    """umount2(2)."""
    if _umount2(encode(target), flags) != 0:
        raise_errno(target)


def pivot_root(new_root: str | bytes, put_old: str | bytes) -> None:
    """pivot_root(2); with "." for both, the old root lies on top of the new one and can be unmounted at "."."""
    if _syscall(_SYS_PIVOT_ROOT, encode(new_root), encode(put_old)) != 0:
        raise_errno(new_root)


def clone_tree(path: str | bytes) -> int:
    """A detached, not recursive bind of `path`, as a descriptor that `attach_tree` puts in its place (open_tree(2))."""
    fd = int(_syscall(_SYS_OPEN_TREE, _AT_FDCWD, encode(path), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC))
    if fd < 0:
        raise_errno(path)
    return fd


def attach_tree(tree: int, target: str | bytes) -> None:
    """Mount what `clone_tree` gave at `target` (move_mount(2)); the descriptor stays open."""
    if _syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, encode(target), _MOVE_MOUNT_F_EMPTY_PATH) != 0:
        raise_errno(target)


def open_in_root(root: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """openat2(2) with RESOLVE_IN_ROOT: no symlink and no ".." in `path` leads out of the directory `root`."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    fd = int(_syscall(_SYS_OPENAT2, root, encode(path), ctypes.byref(how), ctypes.sizeof(how)))
    if fd < 0:
        raise_errno(path)
    return fd


def escape_option(path: str | bytes) -> bytes:
    r"""`path` as a value among overlayfs's mount options, where `,` `:` and `\` separate and escape."""
    return encode(path).replace(b"\\", b"\\\\").replace(b":", b"\\:").replace(b",", b"\\,")
