"""Takes something away from a process, for all that it starts: what a lesser host or kernel would not have.

For the `prelude` of `container_host.Host.start`, which runs in the warden's process; nothing of it outlives that.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import pyseccomp

from shims.linux.libc import LIBC, raise_errno
from shims.linux.mount import MNT_DETACH, MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT
from shims.linux.process import CLONE_NEWCGROUP, CLONE_NEWNS

OUTER: Final = Path("/sys/fs/cgroup/outer")
_MS_PRIVATE: Final = 0x40000


def read_only(*points: str) -> None:
    """Have a mount read-only, as in an unprivileged container."""
    _own_mounts()
    for point in points:
        _mount(b"none", point, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def no_mount(point: str) -> None:
    """Have an empty directory in place of what is mounted there."""
    _own_mounts()
    _mount(b"none", point, b"tmpfs", 0)


def refuse(call: str, number: int = errno.EPERM, **arguments: int) -> None:
    """Have the kernel answer a system call with this error, if its `arg0`, `arg1`... have these values."""
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    tests = [pyseccomp.Arg(int(name[3:]), pyseccomp.EQ, value) for name, value in arguments.items()]
    rules.add_rule(pyseccomp.ERRNO(number), call, *tests)
    rules.load()


def inside_a_container(*, without: tuple[str, ...] = ()) -> None:
    """Be in a cgroup namespace of version 2 with processes in its root, and with the controllers but `without`."""
    root = OUTER.parent
    _pass_on(root, {"cpu", "memory", "pids"})
    OUTER.mkdir()
    middle = OUTER / "middle"
    _pass_on(OUTER, {"cpu", "memory", "pids"} - {*without})
    middle.mkdir()
    (middle / "cgroup.procs").write_text(str(os.getpid()))
    _own_mounts(CLONE_NEWCGROUP)
    if LIBC.umount2(os.fsencode(root), MNT_DETACH) != 0:
        raise_errno(str(root))
    _mount(b"none", str(root), b"cgroup2", 0)


def in_a_service(name: str = "service") -> None:
    """Be in a cgroup of version 2 of one's own, as a service manager has it."""
    service = OUTER.parent / name
    service.mkdir(exist_ok=True)
    (service / "cgroup.procs").write_text("0")


def in_a_service_that_sees_no_more() -> None:
    """Likewise, with the rest of the tree read-only."""
    root = OUTER.parent
    _pass_on(root, {"cpu", "memory", "pids"})
    in_a_service()
    _own_mounts()
    _mount(os.fsencode(root / "service"), str(root / "service"), None, MS_BIND)
    _mount(b"none", str(root), None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _pass_on(path: Path, names: set[str]) -> None:
    (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))


def _own_mounts(more: int = 0) -> None:
    if LIBC.unshare(CLONE_NEWNS | more) != 0:
        raise_errno()
    _mount(b"none", "/", None, MS_REC | _MS_PRIVATE)


def _mount(source: bytes, target: str, kind: bytes | None, flags: int) -> None:
    if LIBC.mount(source, os.fsencode(target), kind, flags, None) != 0:
        raise_errno(target)
