"""The fabric in the kernel: see `shims.network.base` for what it promises.

The thread that calls `open` is in the fabric's network namespace until `close`; all other methods are for that thread.
What many ports need is sent in a few batches. What is known of the kernel is remembered, because a look at a thousand
devices takes longer than making ten; `survey` looks again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from bus.messages.network import Shaping
from shims.netlink import Netlink, NetlinkError
from shims.network import links, netns
from shims.network.base import Abilities, Addresses, Counters, FabricError, Port, Seen, Segment, Survey
from shims.network.ports import Known, Ports, counted
from shims.network.segments import (
    ALL,
    BRIDGES,
    GUESTS,
    HOST_TAPS,
    PATCHES,
    PORTS_LIMIT,
    SCRATCH,
    UNTAGGED,
    Segments,
    remove_devices,
    remove_group,
)
from shims.network.traffic import Traffic

FILTERING: Final = "filtering"
PLAIN: Final = "plain"
_NET_DEV: Final = "/proc/thread-self/net/dev"
_PROBE: Final = "mb-try"


class KernelFabric:
    """The real one."""

    def __init__(self, tag: str, *, way: str = "", ports_limit: int = PORTS_LIMIT) -> None:
        """For the base directory of this tag; `way` forces `plain` or `filtering`. Nothing is touched yet."""
        self._tag = tag
        self._way = way or os.environ.get("MINIBUS_FABRIC", "")
        self._limit = ports_limit
        self._host_netns = -1
        self._netlink: Netlink | None = None
        self._host: Netlink | None = None
        self._segments: Segments
        self._ports: Ports
        self._traffic: Traffic

    # --- the whole

    def open(self) -> Abilities:
        """Enter it; see `Fabric.open`."""
        with _refusals("the network namespace of minibus cannot be made"):
            try:
                self._host_netns = netns.open_own()
                self._host = Netlink()
                outside = os.stat(self._host_netns)
                netns.enter_fabric(self._tag)
                self._netlink = Netlink()
                inside = os.stat("/proc/thread-self/ns/net")
                remove_group(self._netlink, SCRATCH)
                filters = self._filters(self._netlink)
                self._segments = Segments(self._netlink, filters=filters, limit=self._limit)
                self._ports = Ports(self._netlink, self._segments, (outside, inside))
                self._traffic = Traffic(self._netlink)
                self._read()
            except BaseException:
                self.close()
                raise
        return self._traffic.abilities(vlan_filtering=filters)

    def close(self) -> None:
        """Let go of it; the thread is back on the host."""
        for one in (self._netlink, self._host):
            if one:
                one.close()
        self._netlink = self._host = None
        if self._host_netns >= 0:
            netns.enter(self._host_netns)
            os.close(self._host_netns)
            self._host_netns = -1

    def destroy(self) -> None:
        """Remove it with all that is in it; see `Fabric.destroy`. It need not be open, and is not afterwards."""
        with _refusals("the network namespace of minibus cannot be removed"):
            if self._netlink is None and netns.exists(self._tag):
                self.open()
            if self._netlink:
                for group in (GUESTS, HOST_TAPS, PATCHES, BRIDGES):
                    remove_group(self._netlink, group)
            self.close()
            netns.remove(self._tag)

    def survey(self) -> Survey:
        """What exists, looked up."""
        with _refusals("the networks cannot be looked at"):
            self._read()
        ports = {
            name: Seen(known.segment, is_host=known.is_host, on_host=known.on_host)
            for name, known in self._ports.known.items()
        }
        return Survey(ports, frozenset(seen.segment for seen in ports.values() if seen.segment))

    # --- ports

    def add_ports(self, ports: list[Port]) -> dict[str, str]:
        """Make interfaces of guests; see `Fabric.add_ports`."""
        with _refusals("interfaces cannot be made"):
            self._traffic.after_removal([port.name for port in ports if port.name in self._ports.known])
            return self._ports.add(ports)

    def remove_ports(self, names: list[str]) -> None:
        """Remove ports of either kind; see `Fabric.remove_ports`."""
        with _refusals("interfaces cannot be removed"):
            self._traffic.before_removal(names)
            self._ports.remove(names)
            self._traffic.after_removal(names)

    def plug(self, name: str, segment: Segment | None) -> None:
        """Move a port; see `Fabric.plug`."""
        with _refusals(f"{name} cannot be moved"):
            self._ports.plug(name, segment)

    def counters(self) -> dict[str, Counters]:
        """By port; what the device receives is what the guest sent."""
        with open(_NET_DEV) as lines:
            return {
                name: Counters(rx_bytes=sent, tx_bytes=received)
                for name, received, sent in counted(lines, self._ports.known.__contains__)
            }

    # --- traffic

    def shape(self, name: str, shaping: Shaping) -> list[str]:
        """Put constraints in place; see `Fabric.shape`."""
        return self._traffic.shape(name, shaping)

    def mirror(self, source: str, destination: str) -> None:
        """Copy traffic; see `Fabric.mirror`."""
        self._traffic.mirror(source, destination)

    def unmirror(self, destination: str) -> None:
        """No more copies; see `Fabric.unmirror`."""
        self._traffic.unmirror(destination)

    def addresses(self) -> dict[str, Addresses]:
        """By port, as learned."""
        return {name: found for name, found in self._traffic.addresses().items() if name in self._ports.known}

    # --- what the kernel has

    def _own(self) -> Netlink:
        if self._netlink is None:
            raise FabricError("the network namespace of minibus is not open")
        return self._netlink

    def _filters(self, netlink: Netlink) -> bool:
        """Whether bridges filter VLANs; the devices that exist decide, then what was asked for, then what works."""
        found = {link.alias.split(" ")[1:2] == [str(ALL)] for link in links.listed(netlink) if link.group == BRIDGES}
        if found:
            return True in found
        if self._way == PLAIN:
            return False
        message = links.new_bridge(_PROBE, index=0, group=SCRATCH, mac="02:00:00:00:00:01", filters=True)
        try:
            netlink.ask(message)
        except NetlinkError as error:
            if self._way == FILTERING:
                raise FabricError(f"this kernel has no bridges that filter VLANs: {error.strerror}") from error
            return False
        remove_group(netlink, SCRATCH)
        return True

    def _read(self) -> None:
        """Take over what exists, and remove what no bridge of ours can be made of."""
        netlink = self._own()
        found = links.listed(netlink)
        nameless = [link.name for link in found if link.group == BRIDGES and not link.alias]
        remove_devices(netlink, nameless)  # made just before the end of the process that made them
        found = [link for link in found if link.name not in nameless]
        self._segments.read(found)
        members = {name: part.key for part in self._segments.parts() for name in part.ports}
        filtered = any(key[1] == ALL for key in members.values())
        vlans = links.port_vlans(netlink) if filtered else {}
        self._ports.known = {
            link.name: Known(link.ifindex, _segment(members.get(link.name), vlans.get(link.ifindex, [])))
            for link in found
            if link.group == GUESTS
        }


def _segment(key: tuple[str, int] | None, vlans: list[tuple[int, int]]) -> Segment | None:
    """The segment of a port, from the bridge that it is in and its VLANs there."""
    if key is None or key[1] != ALL:
        return Segment(*key) if key else None
    own = [vlan for vlan, flags in vlans if flags & links.BRIDGE_VLAN_INFO_PVID]
    return Segment(key[0], 0 if own[0] == UNTAGGED else own[0]) if own else None


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What the kernel refuses becomes a FabricError of one sentence."""
    try:
        yield
    except OSError as error:
        raise FabricError(f"{what}: {error.strerror or error}") from error
