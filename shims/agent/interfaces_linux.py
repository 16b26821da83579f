"""Hardware and network addresses of this guest, and when they change, by rtnetlink(7)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_LINK, _ADDRESS = struct.Struct("=BxHiII"), struct.Struct("=BBBBI")  # ifinfomsg, ifaddrmsg
_ATTRIBUTE = struct.Struct("=HH")
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_IFLA_ADDRESS, _IFA_ADDRESS, _IFA_LOCAL = 1, 1, 2
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_TIMEOUT_S = 2.0

Found = tuple[list[str], list[str]]


def addresses() -> Found:
    """IP addresses without prefix length, and MACs, of all interfaces that have a MAC; empty if the kernel refuses."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(_TIMEOUT_S)
            links = list(_dump(netlink, _RTM_GETLINK, bytes(_LINK.size)))
            found = list(_dump(netlink, _RTM_GETADDR, bytes(_ADDRESS.size)))
    except OSError:
        return [], []
    return parse(links, found)


def parse(links: list[tuple[int, bytes]], found: list[tuple[int, bytes]]) -> Found:
    """Out of the kernel's answers, as pairs of type and body."""
    macs: dict[int, str] = {}
    for kind, body in links:
        if kind == _RTM_NEWLINK and len(body) >= _LINK.size:
            address = _attributes(body[_LINK.size :]).get(_IFLA_ADDRESS, b"")
            if len(address) == 6 and any(address):
                macs[_LINK.unpack_from(body)[2]] = ":".join(f"{byte:02x}" for byte in address)
    ips = []
    for kind, body in found:
        if kind == _RTM_NEWADDR and len(body) >= _ADDRESS.size:
            family, _, _, _, index = _ADDRESS.unpack_from(body)
            attributes = _attributes(body[_ADDRESS.size :])
            raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
            if index in macs and len(raw) == {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family):
                ips.append(socket.inet_ntop(family, raw))
    return ips, [macs[index] for index in sorted(macs)]


def watch() -> socket.socket | None:
    """A socket that can be read after a change; None if the kernel refuses."""
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        netlink.setblocking(False)
        netlink.bind((0, _GROUPS))
    except OSError:
        netlink.close()
        return None
    return netlink


def drain(netlink: socket.socket) -> None:
    """Forget what `watch` has told; an overflow of its queue only says that much has changed."""
    while True:
        try:
            netlink.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            continue


def _dump(netlink: socket.socket, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body)
    while True:
        packet = netlink.recv(1 << 17)
        at = 0
        while at + _HEADER.size <= len(packet):
            length, kind, _, _, _ = _HEADER.unpack_from(packet, at)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
                return
            yield kind, packet[at + _HEADER.size : at + length]
            at += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
