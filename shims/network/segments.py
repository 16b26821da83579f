"""Bridges of the fabric: which devices make up a segment, where a port of it goes.

The *plain* way has a bridge for each segment, with its own table of addresses: nothing that a guest puts into a frame,
forged addresses or VLAN tags, leads out of it. The *filtering* way has one bridge for each bridge name, whose ports are
members of VLANs. A bridge takes 1,023 ports; beyond that there are several, *parts*, the first of which is joined to
each of the others by a patch, a veth pair.

All of it is read back from the kernel: groups say what a device is for, the alias of a bridge says what it is part of.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shims.netlink import Message, Netlink, number, text
from shims.network import links
from shims.network.base import Segment
from shims.network.links import BRIDGE_VLAN_INFO_PVID, BRIDGE_VLAN_INFO_UNTAGGED, IFLA_GROUP, IFLA_IFALIAS, Link

GUESTS: Final = 0x6D620001
"""Groups of devices, one for each purpose; in the fabric nobody else gives any."""
HOST_TAPS: Final = 0x6D620002
BRIDGES: Final = 0x6D620003
PATCHES: Final = 0x6D620004
TRUNKS: Final = 0x6D620005
SCRATCH: Final = 0x6D6200FF
"""What is to be removed now."""

PORTS_LIMIT: Final = 1000
"""In one bridge; the kernel has 1,023, and the first of several needs some for the patches to the others."""
UNTAGGED: Final = 4094
"""The VLAN by which a filtering bridge knows frames without a tag, between ports of VLAN 0."""
ALL: Final = -1
"""In place of a VLAN: the bridge filters, and has all of them."""

Key = tuple[str, int]
"""Bridge name and VLAN, or ALL."""


@dataclass(slots=True)
class Part:
    """One bridge device."""

    key: Key
    number: int
    index: int
    ports: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Of the device."""
        return device_name(self.key, self.number)


def device_name(key: Key, number_: int) -> str:
    """At most 15 characters, the same each time; the bridge's own name may be too long for more than a digest."""
    vlan = "all" if key[1] == ALL else str(key[1])
    digest = hashlib.sha256(key[0].encode()).hexdigest()[:6]
    return f"s{vlan}.{digest}" + (f"-{number_}" if number_ else "")


def alias_of(key: Key, number_: int) -> str:
    """What a bridge device says of itself."""
    return f"{key[0]} {key[1]} {number_}"


def read_alias(alias: str) -> tuple[Key, int] | None:
    """The reverse; None if it is none of ours."""
    words = alias.split(" ")
    if len(words) != 3 or not words[2].isdecimal() or not words[1].lstrip("-").isdecimal():
        return None
    return (words[0], int(words[1])), int(words[2])


class Segments:
    """The bridges of a fabric."""

    def __init__(self, netlink: Netlink, *, filters: bool, limit: int = PORTS_LIMIT) -> None:
        """None are known until `read`."""
        self._netlink = netlink
        self._filters = filters
        self._limit = limit
        self._parts: dict[Key, list[Part]] = {}
        self._next_index = 1 << 20

    # --- what there is

    def read(self, found: Iterable[Link]) -> None:
        """Take over what the kernel has."""
        found = list(found)
        self._next_index = max([1 << 20, *(link.ifindex + 1 for link in found)])
        by_index: dict[int, Part] = {}
        for link in found:
            meaning = read_alias(link.alias) if link.group == BRIDGES else None
            if meaning:
                by_index[link.ifindex] = Part(*meaning, link.ifindex)
        for link in found:
            if link.master in by_index and link.group != PATCHES:
                by_index[link.master].ports.add(link.name)
        self._parts = {}
        for part in sorted(by_index.values(), key=lambda part: part.number):
            self._parts.setdefault(part.key, []).append(part)

    def parts(self) -> list[Part]:
        """All bridges."""
        return [part for parts in self._parts.values() for part in parts]

    def part_of(self, name: str) -> Part | None:
        """The bridge that this port is in."""
        return next((part for part in self.parts() if name in part.ports), None)

    def new_index(self) -> int:
        """An interface index that no device has: chosen by us, so that nobody has to ask for it."""
        self._next_index += 1
        return self._next_index

    # --- ports

    def place(self, segment: Segment, name: str) -> Part:
        """The bridge in which this port is to be plugged, made if need be; the port counts from now on.

        Raises NetlinkError.
        """
        key = self._key(segment)
        for part in self._parts.get(key, []):
            if len(part.ports) < self._limit:
                break
        else:
            part = self._make(key)
        part.ports.add(name)
        return part

    def forget(self, names: Iterable[str]) -> None:
        """These ports are none any more, or came to nothing."""
        names = set(names)
        for part in self.parts():
            part.ports -= names

    def vlans(self, segment: Segment, index: int) -> list[Message]:
        """What makes a port of a filtering bridge a member of its VLAN; until then it passes nothing."""
        if self._key(segment)[1] != ALL:
            return []
        if segment.vlan:
            return [links.set_vlans(index, [(segment.vlan, segment.vlan, _ACCESS)])]
        return [links.set_vlans(index, [(1, UNTAGGED - 1, 0), (UNTAGGED, UNTAGGED, _ACCESS)])]

    def leave(self, index: int) -> Message:
        """What takes a port of a filtering bridge out of all VLANs."""
        return links.set_vlans(index, [(1, UNTAGGED, 0)], remove=True)

    def tidy(self) -> list[str]:
        """Bridges without ports, and their patches, are none any more; returns the devices that are to be removed."""
        doomed = []
        for key, parts in list(self._parts.items()):
            for part in reversed(parts):
                if part.ports or (part.number == 0 and len(parts) > 1):
                    continue
                parts.remove(part)
                doomed += [part.name, *patch_names(part.name)[:1]] if part.number else [part.name]
            if not parts:
                del self._parts[key]
        return doomed

    # --- bridges

    def _key(self, segment: Segment) -> Key:
        return segment.bridge, ALL if self._filters and segment.vlan < UNTAGGED else segment.vlan

    def _make(self, key: Key) -> Part:
        """A further bridge for these; raises NetlinkError, and leaves nothing."""
        parts = self._parts.setdefault(key, [])
        taken = {part.number for part in parts}
        part = Part(key, next(n for n in range(len(parts) + 1) if n not in taken), self.new_index())
        messages = [
            links.new_bridge(part.name, index=part.index, group=BRIDGES, mac=_mac(), filters=key[1] == ALL),
            links.set_link(part.name, text(IFLA_IFALIAS, alias_of(key, part.number))),
        ]
        if part.number:
            messages += self._patch(part, parts[0])
        for place, error in enumerate(self._netlink.batch(messages)):
            if error:
                names = [part.name, *patch_names(part.name)[:1]] if place else []
                self._netlink.batch([links.delete(name) for name in names])
                if not parts:
                    del self._parts[key]
                raise error
        parts.append(part)
        parts.sort(key=lambda part: part.number)
        return part

    def _patch(self, part: Part, first: Part) -> list[Message]:
        near, far = patch_names(part.name)
        index, far_index = self.new_index(), self.new_index()
        messages = [
            links.new_veth(
                near, far, index=index, group=PATCHES, master=first.index, peer_index=far_index, peer_group=PATCHES
            ),
            links.set_link(far, number(links.IFLA_MASTER, part.index), up=True),
        ]
        if part.key[1] == ALL:
            messages += [links.set_vlans(end, [(1, UNTAGGED, 0)]) for end in (index, far_index)]
        return messages


_ACCESS: Final = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED


def patch_names(name: str) -> tuple[str, str]:
    """The ends of the patch of a further part: in the first part, and in this one."""
    return f"p{name[1:]}", f"q{name[1:]}"


def remove_devices(netlink: Netlink, names: Iterable[str]) -> None:
    """Remove devices of these names, all at once; those that do not exist are no error. Raises NetlinkError."""
    messages = [links.set_link(name, number(IFLA_GROUP, SCRATCH)) for name in names]
    if messages:
        netlink.batch(messages)
        remove_group(netlink, SCRATCH)


def remove_group(netlink: Netlink, group: int) -> None:
    """Remove all devices of a group; raises NetlinkError."""
    for error in netlink.batch([links.delete_group(group)]):
        if error and error.errno != errno.ENODEV:
            raise error


def _mac() -> str:
    """A random one that is nobody's."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *os.urandom(5)))
