"""Messages of rtnetlink(7) about addresses and routes of the host."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Final

from shims.netlink.links import RTM_GETADDR, RTM_NEWADDR
from shims.netlink.netlink import NLM_F_CREATE, NLM_F_EXCL, Message, Netlink, attribute, attributes

# include/uapi/linux/rtnetlink.h, if_addr.h
RTM_GETROUTE: Final = 26
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_RTA_OIF: Final = 4
_RTA_MULTIPATH: Final = 9
_IFADDR: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_NEXT_HOP: Final = struct.Struct("=HBBi")
_LINK_SCOPE: Final = 253
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_SHORTEST_WITH_BROADCAST: Final = 30
"""Networks of one or two addresses have no broadcast address."""


def new_address(ifindex: int, address: str) -> Message:
    """Give an interface an address with prefix length; raises ValueError if it is none."""
    parsed = ipaddress.ip_interface(address)
    prefix = parsed.network.prefixlen
    payload = _IFADDR.pack(_FAMILIES[parsed.version], prefix, 0, 0, ifindex)
    payload += attribute(_IFA_LOCAL, parsed.packed) + attribute(_IFA_ADDRESS, parsed.packed)
    if parsed.version == 4 and prefix <= _SHORTEST_WITH_BROADCAST:
        payload += attribute(_IFA_BROADCAST, parsed.network.broadcast_address.packed)
    return Message(RTM_NEWADDR, payload, NLM_F_CREATE | NLM_F_EXCL)


def addresses(netlink: Netlink, ifindex: int) -> list[str]:
    """The addresses that somebody gave an interface, with prefix length; link-local ones are its own."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for payload in netlink.dump(Message(RTM_GETADDR, _IFADDR.pack(family, 0, 0, 0, 0))):
            _, prefix, _, scope, index = _IFADDR.unpack_from(payload)
            if index != ifindex or scope == _LINK_SCOPE:
                continue
            values = dict(attributes(payload, _IFADDR.size))
            packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            if packed:
                found.append(f"{ipaddress.ip_address(packed)}/{prefix}")
    return found


def default_routes(netlink: Netlink) -> set[int]:
    """The indices of the interfaces that default routes lead through."""
    found: set[int] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for payload in netlink.dump(Message(RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))):
            if _RTMSG.unpack_from(payload)[1] == 0:  # the length of what it leads to
                found.update(_through(payload))
    return found


def _through(payload: bytes) -> Iterator[int]:
    for kind, value in attributes(payload, _RTMSG.size):
        if kind == _RTA_OIF:
            yield struct.unpack("=i", value)[0]
        offset = 0
        while kind == _RTA_MULTIPATH and offset + _NEXT_HOP.size <= len(value):
            length, _, _, index = _NEXT_HOP.unpack_from(value, offset)
            yield index
            offset += max(length + 3 & ~3, _NEXT_HOP.size)
