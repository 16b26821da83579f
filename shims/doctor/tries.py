"""Using features once, where nobody else sees it: in a throw-away process with namespaces of its own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from shims.linux.libc import LIBC, raise_errno
from shims.linux.mount import MS_REC, MS_SLAVE, escape_option
from shims.linux.process import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS
from shims.netlink import links
from shims.netlink.netlink import Netlink
from shims.network.base import FabricError
from shims.network.tagging import attach as tag

TIMEOUT_S: Final = 4.0
"""For all of them together, which mostly take a third of a second; what has not been tried by then is unknown."""
DONE: Final = "done"

Outcome = str
"""Why it did not work; empty if it did."""
Try = Callable[[], None]
"""Raises OSError if it does not work."""


def run(tries: Mapping[str, Try], timeout_s: float = TIMEOUT_S) -> dict[str, Outcome]:
    """Try all of them in new mount, network, IPC and UTS namespaces; what did not get its turn is not in the answer.

    For a process without threads. Needs CAP_SYS_ADMIN; without it the answer is empty.
    """
    readable, writable = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(readable)
            _try_all(tries, writable)
        os._exit(0)
    os.close(writable)
    try:
        return dict(_outcomes(readable, timeout_s))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(readable)


def _try_all(tries: Mapping[str, Try], report: int) -> None:
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0:
        return
    mount(b"none", b"/", None, MS_REC | MS_SLAVE)
    for name, attempt in tries.items():
        outcome = ""
        try:
            attempt()
        except OSError as error:
            outcome = error.strerror or str(error) or type(error).__name__
        except Exception as error:  # a library's own; it must not hide the others
            outcome = f"{type(error).__name__}: {error}"[:200]
        os.write(report, json.dumps([name, outcome]).encode() + b"\n")


def _outcomes(readable: int, timeout_s: float) -> Iterator[tuple[str, Outcome]]:
    deadline_s = time.monotonic() + timeout_s
    rest = b""
    poll = select.poll()
    poll.register(readable, select.POLLIN)
    while poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
        data = os.read(readable, 65_536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            name, outcome = json.loads(line)
            yield name, outcome


# --- mounts


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int = 0, data: bytes | None = None) -> None:
    """mount(2); raises OSError."""
    if LIBC.mount(source, target, kind, flags, data) != 0:
        raise_errno()


def overlay(scratch: str) -> Try:
    """An overlay whose upper directory is below `scratch`, which must be empty."""

    def attempt() -> None:
        lower, upper, work, target = (os.path.join(scratch, name) for name in ("lower", "upper", "work", "target"))
        for path in (lower, upper, work, target):
            os.mkdir(path)
        options = b"lowerdir=%s,upperdir=%s,workdir=%s" % tuple(map(escape_option, (lower, upper, work)))
        mount(b"overlay", os.fsencode(target), b"overlay", 0, options)
        try:
            with open(os.path.join(target, "written"), "x"):
                pass
        finally:
            LIBC.umount2(os.fsencode(target), 0)

    return attempt


def devpts() -> None:
    """A devpts of one's own, over a directory that is there anyway."""
    mount(b"devpts", b"/dev", b"devpts", 0, b"newinstance,ptmxmode=0666,mode=0620")
    LIBC.umount2(b"/dev", 0)


# --- network


def link(kind: str, **options: Any) -> Try:
    """A device of this kind; it goes with its network namespace."""

    def attempt() -> None:
        with _netlink() as netlink:
            netlink.link("add", ifname="mb-try", kind=kind, **options)
            netlink.link("del", index=netlink.link_lookup(ifname="mb-try")[0])

    return attempt


def qdisc(kind: str, **options: Any) -> Try:
    """A queueing discipline on a new veth."""

    def attempt() -> None:
        with _netlink() as netlink:
            netlink.link("add", ifname="mb-try", kind="veth", peer="mb-peer")
            index = netlink.link_lookup(ifname="mb-try")[0]
            try:
                netlink.tc("add", kind, index, 0x10000, **options)
            finally:
                netlink.link("del", index=index)

    return attempt


def tagging() -> None:
    """The programs that put VLAN tags on frames, at a new veth."""
    with contextlib.closing(Netlink()) as netlink:
        netlink.ask(links.new_veth("mb-try", "mb-peer", index=0, group=0))
        try:
            tag(netlink, links.named(netlink, "mb-try").ifindex, 1)
        except FabricError as error:
            raise OSError(str(error)) from error
        finally:
            netlink.ask(links.delete("mb-try"))


def tap(device: str) -> Try:
    """A tap device, which goes when its descriptor is closed."""

    def attempt() -> None:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"mb-try", _IFF_TAP | _IFF_NO_PI))
        finally:
            os.close(fd)

    return attempt


@contextlib.contextmanager
def _netlink() -> Iterator[Any]:
    """A connection to this network namespace; the kernel's refusals become OSError."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    netlink = IPRoute()
    try:
        yield netlink
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error
    finally:
        netlink.close()


# include/uapi/linux/if_tun.h
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 2
_IFF_NO_PI: Final = 0x1000

# include/uapi/linux/netlink.h, netfilter/nfnetlink.h, netfilter/nf_tables.h
_NETLINK_NETFILTER: Final = 12
_NFNL_SUBSYS_NFTABLES: Final = 10
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
_NLM_F_ACK: Final = 4
_NLM_F_CREATE: Final = 0x400
_TABLE: Final = b"mb-try\0"


def nft_table(family: int) -> Try:
    """A table of this nftables family, by the netlink protocol itself: needs no library."""

    def attempt() -> None:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        with netlink:
            netlink.settimeout(TIMEOUT_S)
            name = struct.pack("HH", 4 + len(_TABLE), 1) + _TABLE + bytes(-len(_TABLE) % 4)
            flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE
            netlink.send(
                _nfnl(_BATCH_BEGIN, _NLM_F_REQUEST, 1, 0, _NFNL_SUBSYS_NFTABLES)
                + _nfnl(_NFNL_SUBSYS_NFTABLES << 8, flags, 2, family, 0, name)
                + _nfnl(_BATCH_END, _NLM_F_REQUEST, 3, 0, _NFNL_SUBSYS_NFTABLES)
            )
            answer = netlink.recv(4096)
            kind, code = struct.unpack_from("H", answer, 4)[0], struct.unpack_from("i", answer, 16)[0]
            if kind != _NLMSG_ERROR:
                raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
            if code:
                raise OSError(-code, os.strerror(-code))

    return attempt


def _nfnl(kind: int, flags: int, sequence: int, family: int, resource_id: int, payload: bytes = b"") -> bytes:
    body = struct.pack("BB", family, 0) + struct.pack("!H", resource_id) + payload
    return struct.pack("IHHII", 16 + len(body), kind, flags, sequence, 0) + body
