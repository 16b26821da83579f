"""Messages of rtnetlink(7) about interfaces, and what the kernel lists of them."""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from shims.netlink.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    nested,
    number,
    text,
)

# include/uapi/linux/rtnetlink.h, if_link.h, if_bridge.h, net/if.h
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_LINK: Final = 5
IFLA_MASTER: Final = 10
IFLA_PROTINFO: Final = 12
IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
IFLA_AF_SPEC: Final = 26
IFLA_GROUP: Final = 27
IFLA_NET_NS_FD: Final = 28
IFLA_EXT_MASK: Final = 29
IFLA_NUM_TX_QUEUES: Final = 31
IFLA_NUM_RX_QUEUES: Final = 32
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
IFLA_BR_FORWARD_DELAY: Final = 1
IFLA_BR_STP_STATE: Final = 5
IFLA_BR_VLAN_FILTERING: Final = 7
IFLA_BR_MCAST_SNOOPING: Final = 23
IFLA_BR_VLAN_DEFAULT_PVID: Final = 39
IFLA_BRPORT_LEARNING: Final = 8
IFLA_BRIDGE_VLAN_INFO: Final = 2
BRIDGE_VLAN_INFO_PVID: Final = 2
BRIDGE_VLAN_INFO_UNTAGGED: Final = 4
BRIDGE_VLAN_INFO_RANGE_BEGIN: Final = 8
BRIDGE_VLAN_INFO_RANGE_END: Final = 16
RTEXT_FILTER_BRVLAN_COMPRESSED: Final = 4
RTEXT_FILTER_SKIP_STATS: Final = 8
AF_BRIDGE: Final = 7
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_NOARP: Final = 0x80
_VETH_INFO_PEER: Final = 1

_IFINFO: Final = struct.Struct("=BxHiII")


class Link(NamedTuple):
    """One interface as the kernel lists it."""

    ifindex: int
    name: str
    flags: int
    group: int
    master: int
    """Index of the bridge that it is a port of; 0 if of none."""
    alias: str
    kind: str
    """E.g. `veth`; empty for hardware."""
    lower: int
    """Index of what it is stacked on, or of its other end, in whichever network namespace that is."""


def _info(index: int = 0, *, family: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFO.pack(family, 0, index, flags, change)


def _up(index: int) -> bytes:
    """Up, and nothing is ever resolved for it: it has no addresses."""
    return _info(index, flags=IFF_UP | IFF_NOARP, change=IFF_UP | IFF_NOARP)


def new_veth(
    name: str,
    peer: str,
    *,
    index: int,
    group: int,
    master: int = 0,
    peer_place: bytes = b"",
    peer_mac: str = "",
    peer_index: int = 0,
    peer_group: int = 0,
) -> Message:
    """Make a pair: `name` here, up, a port of `master`; `peer` in the network namespace that `peer_place` names, down.

    One queue: the default is one for each CPU of the host, for both ends of each pair, which nobody needs.
    """
    queues = number(IFLA_NUM_TX_QUEUES, 1) + number(IFLA_NUM_RX_QUEUES, 1)
    other = _info(peer_index) + text(IFLA_IFNAME, peer) + queues + peer_place
    if peer_mac:
        other += attribute(IFLA_ADDRESS, bytes.fromhex(peer_mac.replace(":", "")))
    if peer_group:
        other += number(IFLA_GROUP, peer_group)
    payload = _up(index) + text(IFLA_IFNAME, name) + number(IFLA_GROUP, group) + queues
    if master:
        payload += number(IFLA_MASTER, master)
    data = nested(IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other))
    payload += nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), data)
    return Message(RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL)


def in_netns(descriptor: int) -> bytes:
    """Where the other end of a pair goes: to the network namespace that is open as `descriptor`."""
    return number(IFLA_NET_NS_FD, descriptor)


def new_bridge(name: str, *, index: int, group: int, mac: str, filters: bool) -> Message:
    """Make a bridge, up, that forwards at once, learns, and does nothing else; `filters`: that knows VLANs.

    Its address is given, because otherwise it would change with its ports.
    """
    data = [
        number(IFLA_BR_FORWARD_DELAY, 0),
        number(IFLA_BR_STP_STATE, 0),
        attribute(IFLA_BR_MCAST_SNOOPING, b"\0"),
    ]
    if filters:
        data.append(attribute(IFLA_BR_VLAN_DEFAULT_PVID, struct.pack("=H", 0)))
        data.append(attribute(IFLA_BR_VLAN_FILTERING, b"\1"))
    payload = _up(index) + text(IFLA_IFNAME, name) + number(IFLA_GROUP, group)
    payload += attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    payload += nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"), nested(IFLA_INFO_DATA, *data))
    return Message(RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL)


def set_link(name: str, *changes: bytes, up: bool | None = None) -> Message:
    """Change the interface of this name."""
    info = _info() if up is None else _info(flags=IFF_UP if up else 0, change=IFF_UP)
    return Message(RTM_SETLINK, info + text(IFLA_IFNAME, name) + b"".join(changes))


def no_learning(ifindex: int) -> Message:
    """The bridge does not remember which addresses are behind this port: it sends everything there."""
    info = nested(IFLA_PROTINFO, attribute(IFLA_BRPORT_LEARNING, b"\0"))
    return Message(RTM_SETLINK, _info(ifindex, family=AF_BRIDGE) + info)


def set_vlans(index: int, ranges: Iterable[tuple[int, int, int]], *, remove: bool = False) -> Message:
    """Of a port of a filtering bridge: VLANs from, to (included), with BRIDGE_VLAN_INFO_* flags."""
    found = b""
    for low, high, flags in ranges:
        if low == high:
            found += attribute(IFLA_BRIDGE_VLAN_INFO, struct.pack("=HH", flags, low))
        else:
            begin, end = flags | BRIDGE_VLAN_INFO_RANGE_BEGIN, flags | BRIDGE_VLAN_INFO_RANGE_END
            found += attribute(IFLA_BRIDGE_VLAN_INFO, struct.pack("=HH", begin, low))
            found += attribute(IFLA_BRIDGE_VLAN_INFO, struct.pack("=HH", end, high))
    return Message(RTM_DELLINK if remove else RTM_SETLINK, _info(index, family=AF_BRIDGE) + nested(IFLA_AF_SPEC, found))


def delete(name: str) -> Message:
    """Remove the interface of this name; slow for many, see `delete_group`."""
    return Message(RTM_DELLINK, _info() + text(IFLA_IFNAME, name))


def delete_group(group: int) -> Message:
    """Remove all interfaces of a group at once, which waits once and not once for each."""
    return Message(RTM_DELLINK, _info() + number(IFLA_GROUP, group))


def listed(netlink: Netlink) -> list[Link]:
    """All interfaces."""
    message = Message(RTM_GETLINK, _info() + number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))
    return [_read(payload) for payload in netlink.dump(message)]


def named(netlink: Netlink, name: str) -> Link:
    """The interface of this name; raises NetlinkError (ENODEV)."""
    return _read(netlink.get(Message(RTM_GETLINK, _info() + text(IFLA_IFNAME, name))))


def find(netlink: Netlink, name: str) -> Link | None:
    """The interface of this name, None if there is none; raises NetlinkError."""
    try:
        return named(netlink, name)
    except NetlinkError as error:
        if error.errno in (errno.ENODEV, errno.ERANGE, errno.EINVAL):  # the last two for what can be no name
            return None
        raise


def look_at(ifindex: int) -> Message:
    """Ask for one interface, whose answer nobody reads: it makes the kernel note the carrier now (since 6.8).

    Otherwise such notes wait in one queue for the whole machine, of which 100 are dealt with each second: the
    thousandth guest could bring its interface up and be heard 20 seconds later.
    """
    return Message(RTM_GETLINK, _info(ifindex) + number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))


def port_vlans(netlink: Netlink) -> dict[int, list[tuple[int, int]]]:
    """VLAN and flags of each VLAN of each port of a filtering bridge, by index; a range is given by its ends."""
    message = Message(RTM_GETLINK, _info(family=AF_BRIDGE) + number(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED))
    found: dict[int, list[tuple[int, int]]] = {}
    for payload in netlink.dump(message):
        index = _IFINFO.unpack_from(payload)[2]
        spec = dict(attributes(payload, _IFINFO.size)).get(IFLA_AF_SPEC, b"")
        for kind, value in attributes(spec):
            if kind == IFLA_BRIDGE_VLAN_INFO:
                flags, vlan = struct.unpack_from("=HH", value)
                found.setdefault(index, []).append((vlan, flags))
    return found


def _read(payload: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(payload)
    found = dict(attributes(payload, _IFINFO.size))
    info = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    return Link(
        ifindex=index,
        name=_string(found.get(IFLA_IFNAME, b"")),
        flags=flags,
        group=_number(found.get(IFLA_GROUP, b"")),
        master=_number(found.get(IFLA_MASTER, b"")),
        alias=_string(found.get(IFLA_IFALIAS, b"")),
        kind=_string(info.get(IFLA_INFO_KIND, b"")),
        lower=_number(found.get(IFLA_LINK, b"")),
    )


def _string(value: bytes) -> str:
    return value.partition(b"\0")[0].decode(errors="surrogateescape")


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], sys.byteorder)
