"""Bridges of the fabric: which devices make up a segment, where a port of it goes.

The *plain* way has a bridge for each segment, with its own table of addresses: nothing that a guest puts into a frame,
forged addresses or VLAN tags, leads out of it. The *filtering* way has one bridge for each bridge name, whose ports are
members of VLANs. A bridge takes 1,023 ports; beyond that there are several, *parts*, the first of which is joined to
each of the others by a patch, a pair of interfaces.

VLAN 0, ports that see all VLANs with tags, is one more VLAN of a filtering bridge. The plain way has a bridge for it
that learns nothing, a hub, and a patch to each segment of the bridge name (`tagging.py`).

All of it is read back from the kernel: groups say what a device is for, the alias of a bridge says what it is part of.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shims.netlink import links
from shims.netlink.links import BRIDGE_VLAN_INFO_PVID, BRIDGE_VLAN_INFO_UNTAGGED, IFLA_GROUP, IFLA_IFALIAS, Link
from shims.netlink.netlink import Message, Netlink, NetlinkError, number, text
from shims.network import tagging
from shims.network.base import FabricError, Segment

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
DEVICES_AT_ONCE: Final = 12
"""How many devices of empty segments go with one call: the kernel waits some 16 ms for each bridge (rcu_barrier)."""
UNTAGGED: Final = 4094
"""The VLAN by which a filtering bridge knows frames without a tag, between ports of VLAN 0.

Segments 4094 and 4095, which is no VLAN of 802.1Q, have bridges of their own there and are on no trunk.
"""
ALL: Final = -1
"""In place of a VLAN: the bridge filters, and has all of them."""
FIRST_INDEX: Final = 1 << 20
"""Of interfaces whose index we choose; the kernel's own choice begins at 1."""
_ACCESS: Final = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED

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


def patch_names(name: str) -> tuple[str, str]:
    """The ends of the patch of a further part: in the first part, and in this one."""
    return f"p{name[1:]}", f"q{name[1:]}"


def tag_names(name: str) -> tuple[str, str]:
    """The ends of the patch of a segment's first part to the trunk: in that part, and in the trunk's bridge."""
    return f"t{name[1:]}", f"u{name[1:]}"


def alias_of(key: Key, number_: int) -> str:
    """What a bridge device says of itself."""
    return f"{key[0]} {key[1]} {number_}"


def read_alias(alias: str) -> tuple[Key, int] | None:
    """The reverse; None if it is none of ours."""
    words = alias.split(" ")
    if len(words) != 3 or not words[2].isdecimal() or not words[1].removeprefix("-").isdecimal():
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
        self._last_index = FIRST_INDEX

    # --- what there is

    def read(self, found: Iterable[Link]) -> None:
        """Take over what the kernel has; what is half-made is finished. Raises NetlinkError or FabricError."""
        by_index: dict[int, Part] = {}
        patches: set[str] = set()
        loose: list[str] = []
        for link in found:
            self._last_index = max(self._last_index, link.ifindex)
            meaning = read_alias(link.alias) if link.group == BRIDGES else None
            if meaning:
                by_index[link.ifindex] = Part(*meaning, link.ifindex)
            elif link.group == BRIDGES or (link.group == PATCHES and not link.master):
                loose.append(link.name)  # whoever made it ended before it had its meaning
            elif link.group == PATCHES:
                patches.add(link.name)
        for link in found:
            if link.master in by_index and link.group != PATCHES:
                by_index[link.master].ports.add(link.name)
        self._parts = {}
        for part in sorted(by_index.values(), key=lambda part: part.number):
            if part.number and part.key not in self._parts:
                loose.append(part.name)  # its ports are in no segment without the first part
            else:
                self._parts.setdefault(part.key, []).append(part)
        remove_devices(self._netlink, loose)
        patches -= {_other_end(name) for name in loose}
        for part in self.parts():
            self._join(part, patches)

    def parts(self) -> list[Part]:
        """All bridges."""
        return [part for parts in self._parts.values() for part in parts]

    def part_of(self, name: str) -> Part | None:
        """The bridge that this port is in."""
        return next((part for part in self.parts() if name in part.ports), None)

    def new_index(self) -> int:
        """An interface index that no device has: chosen by us, so that nobody has to ask for it."""
        self._last_index += 1
        return self._last_index

    # --- ports

    def place(self, segment: Segment, name: str) -> Part:
        """The bridge in which this port is to be plugged, made if need be; the port counts from now on.

        Raises NetlinkError or FabricError.
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

    def joining(self, segment: Segment, index: int) -> list[Message]:
        """What a port still needs after it became a port; one of a filtering bridge passes nothing until then."""
        if self._key(segment)[1] != ALL:
            return [] if segment.vlan else [links.no_learning(index)]
        if segment.vlan:
            return [links.set_vlans(index, [(segment.vlan, segment.vlan, _ACCESS)])]
        return [links.set_vlans(index, [(1, UNTAGGED - 1, 0), (UNTAGGED, UNTAGGED, _ACCESS)])]

    def leaving(self, part: Part, index: int) -> list[Message]:
        """What a port needs that stays in its bridge and gets into another segment there."""
        return [links.set_vlans(index, [(1, UNTAGGED, 0)], remove=True)] if part.key[1] == ALL else []

    def tidy(self) -> list[str]:
        """Some bridges without ports are none any more; returns the devices that are to be removed.

        The others wait for the next time, and may be used again meanwhile.
        """
        doomed: list[str] = []
        for part in list(reversed(self.parts())):
            if not part.ports and (part.number or len(self._parts[part.key]) == 1):
                doomed += self._drop(part)
                if len(doomed) >= DEVICES_AT_ONCE:
                    break
        return doomed

    def _drop(self, part: Part) -> list[str]:
        """It is none any more; returns its devices."""
        self._parts[part.key].remove(part)
        if not self._parts[part.key]:
            del self._parts[part.key]
        return [part.name, *self._patches_of(part)]

    # --- bridges

    def _key(self, segment: Segment) -> Key:
        return segment.bridge, ALL if self._filters and segment.vlan < UNTAGGED else segment.vlan

    def _make(self, key: Key) -> Part:
        """A further bridge for these; raises NetlinkError or FabricError, and leaves nothing."""
        taken = {part.number for part in self._parts.get(key, [])}
        part = Part(key, next(n for n in range(len(taken) + 1) if n not in taken), self.new_index())
        try:
            self._netlink.ask(
                links.new_bridge(part.name, index=part.index, group=BRIDGES, mac=_mac(), filters=key[1] == ALL)
            )
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                raise FabricError(f"the bridge names {key[0]} and another one in use are too much alike") from error
            raise
        self._parts.setdefault(key, []).append(part)
        self._parts[key].sort(key=lambda part: part.number)
        try:
            self._netlink.ask(links.set_link(part.name, text(IFLA_IFALIAS, alias_of(key, part.number))))
            self._join(part, set())
        except (NetlinkError, FabricError):
            remove_devices(self._netlink, self._drop(part))
            raise
        return part

    def _join(self, part: Part, existing: set[str]) -> None:
        """Make the patches that it needs and that do not exist; raises NetlinkError or FabricError."""
        if part.number and patch_names(part.name)[0] not in existing:
            self._patch(part, self._parts[part.key][0])
        if part.number or self._filters:
            return
        bridge, vlan = part.key
        trunks = self._parts.get((bridge, 0), [])
        ours = [part] if vlan else [parts[0] for key, parts in self._parts.items() if key[0] == bridge and key[1]]
        for one in ours if trunks else []:
            if tag_names(one.name)[0] not in existing:
                self._patch_to_trunk(one, trunks[0])
                existing.update(tag_names(one.name))

    def _patches_of(self, part: Part) -> list[str]:
        """One end of each patch that goes with it; some may not exist."""
        if part.number:
            return [patch_names(part.name)[0]]
        if self._filters:
            return []
        bridge, vlan = part.key
        keys = [part.key] if vlan else [key for key in self._parts if key[0] == bridge]
        return [tag_names(device_name(key, 0))[0] for key in keys]

    def _patch(self, part: Part, first: Part) -> None:
        near, far = patch_names(part.name)
        index, far_index = self._pair(near, far, first)
        messages = [links.set_link(far, number(links.IFLA_MASTER, part.index), up=True)]
        if part.key[1] == ALL:
            messages += [links.set_vlans(end, [(1, UNTAGGED, 0)]) for end in (index, far_index)]
        elif part.key[1] == 0:
            messages += [links.no_learning(end) for end in (index, far_index)]
        for message in [*messages, links.look_at(index), links.look_at(far_index)]:
            self._netlink.ask(message)

    def _patch_to_trunk(self, part: Part, trunk: Part) -> None:
        near, far = tag_names(part.name)
        index, far_index = self._pair(near, far, part)
        tagging.attach(self._netlink, far_index, part.key[1])  # before it becomes a port: nothing passes untagged
        plugged = links.set_link(far, number(links.IFLA_MASTER, trunk.index), up=True)
        for message in (plugged, links.no_learning(far_index), links.look_at(index), links.look_at(far_index)):
            self._netlink.ask(message)

    def _pair(self, near: str, far: str, part: Part) -> tuple[int, int]:
        """A patch that is plugged in at its near end; returns the indices of both."""
        index, far_index = self.new_index(), self.new_index()
        self._netlink.ask(
            links.new_veth(
                near, far, index=index, group=PATCHES, master=part.index, peer_index=far_index, peer_group=PATCHES
            )
        )
        return index, far_index


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


def _other_end(name: str) -> str:
    """Of a patch."""
    return {"p": "q", "q": "p", "t": "u", "u": "t"}.get(name[0], name[0]) + name[1:]


def _mac() -> str:
    """A random one that is nobody's."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *os.urandom(5)))
