"""The network namespace of our own, `/run/netns/minibus_<tag>`: kept where ip-netns(8) looks for such, so that

    ip netns exec minibus_abcd tcpdump -i mega_tap3

works. A network namespace belongs to one thread: what enters one affects no other thread of the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shims.linux.libc import LIBC, raise_errno
from shims.linux.mount import MNT_DETACH, MS_BIND, MS_REC, MS_SHARED, UMOUNT_NOFOLLOW
from shims.linux.process import CLONE_NEWNET

DIRECTORY: Final = "/run/netns"
PREFIX: Final = "minibus_"
_OWN: Final = "/proc/thread-self/ns/net"
"""Not /proc/self, which is the first thread's."""

SYSCTLS: Final = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/conf/all/forwarding": "0",
    "net/ipv4/conf/default/forwarding": "0",
    "net/ipv4/conf/all/arp_ignore": "8",
    "net/ipv4/conf/default/arp_ignore": "8",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}
"""Nothing in the fabric answers or passes anything on but the bridges; some of these may be missing, or be the host's
values at first (net.core.devconf_inherit_init_net)."""


def path(tag: str) -> str:
    """Where the network namespace of a base directory is found."""
    return os.path.join(DIRECTORY, PREFIX + tag)


def exists(tag: str) -> bool:
    """Whether there is one: a file without a mount on it is none."""
    try:
        return os.stat(path(tag)).st_dev == os.stat(_OWN).st_dev
    except OSError:
        return False


def open_own() -> int:
    """A descriptor of the network namespace that the calling thread is in."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def enter(descriptor: int) -> None:
    """The calling thread is in that network namespace from now on; raises OSError. (os.setns came with Python 3.12.)"""
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise_errno()


def enter_fabric(tag: str) -> None:
    """The calling thread is in the network namespace of this tag from now on, made if there is none; raises OSError."""
    if exists(tag):
        descriptor = os.open(path(tag), os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(descriptor)
        finally:
            os.close(descriptor)
    else:
        _make(tag)
    for name, value in SYSCTLS.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", name).write_text(value)


def keep(tag: str) -> None:
    """Give the calling thread's network namespace its name again if somebody took it away; raises OSError.

    Without a name it would end with the last process in it, and all that is plugged in with it.
    """
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(path(tag)), os.stat(_OWN)):
            return
    with _locked():
        _name(tag)


def remove(tag: str) -> None:
    """Forget it: the kernel frees it when no process and no socket is in it any more; raises OSError."""
    target = path(tag)
    while LIBC.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        pass  # there may be several on top of each other
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)


@contextlib.contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """The calling thread is in that network namespace for the time of the block; raises OSError."""
    before = open_own()
    try:
        enter(descriptor)
        try:
            yield
        finally:
            enter(before)
    finally:
        os.close(before)


def _make(tag: str) -> None:
    """A new one for the calling thread; if it cannot be kept, the thread is back where it was."""
    before = open_own()
    try:
        with _locked():
            is_new = not exists(tag)  # it may have been made meanwhile
            if is_new:
                if LIBC.unshare(CLONE_NEWNET) != 0:
                    raise_errno()
                try:
                    _name(tag)
                except OSError:
                    enter(before)
                    remove(tag)
                    raise
        if not is_new:
            enter_fabric(tag)
    finally:
        os.close(before)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """As ip-netns(8) does it: two that share the directory at once would do it twice."""
    os.makedirs(DIRECTORY, 0o755, exist_ok=True)
    lock = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _share_directory()
        yield
    finally:
        os.close(lock)


def _name(tag: str) -> None:
    remove(tag)
    os.close(os.open(path(tag), os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    _mount(_OWN, path(tag), MS_BIND)


def _share_directory() -> None:
    """Make it a shared mount of its own, as ip-netns(8) does.

    If that came later, our mount would be doubled below it, where nobody could remove it any more.
    """
    try:
        _mount("none", DIRECTORY, MS_SHARED | MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(DIRECTORY, DIRECTORY, MS_BIND | MS_REC)
        _mount("none", DIRECTORY, MS_SHARED | MS_REC)


def _mount(source: str, target: str, flags: int) -> None:
    if LIBC.mount(os.fsencode(source), os.fsencode(target), b"none", flags, None) != 0:
        raise_errno(target)
