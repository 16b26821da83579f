"""The fabric in the kernel: see `shims.network.base` for what it promises.

The thread that calls `open` is in the fabric's network namespace until `close`; all other methods are for that thread.
What many ports need is sent in a few batches. What is known of the kernel is remembered, because a look at a thousand
devices takes longer than making ten; `survey` looks again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from bus.messages.network import Shaping
from shims.netlink import links
from shims.netlink.links import Link
from shims.netlink.netlink import Netlink, NetlinkError
from shims.network import netns
from shims.network.base import Abilities, Addresses, Counters, FabricError, HostPort, Port, Seen, Segment, Survey
from shims.network.host_ends import HostEnds, read_note
from shims.network.ports import Known, Ports, counted
from shims.network.segments import (
    ALL,
    BRIDGES,
    GUESTS,
    HOST_TAPS,
    PORTS_LIMIT,
    SCRATCH,
    UNTAGGED,
    Segments,
    remove_group,
)
from shims.network.traffic import Traffic

FILTERING: Final = "filtering"
PLAIN: Final = "plain"
_NET_DEV: Final = "/proc/thread-self/net/dev"
_PROBE: Final = "mb-try"
_NOT_OPEN: Final = "the network namespace of minibus is not open"


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
        self._ends: HostEnds
        self._segments: Segments
        self._ports: Ports
        self._traffic: Traffic | None = None

    # --- the whole

    def open(self) -> Abilities:
        """Enter it; see `Fabric.open`."""
        with _refusals("the network namespace of minibus cannot be made"):
            self.close()
            is_new = not netns.exists(self._tag)
            try:
                self._host_netns = netns.open_own()
                self._host = Netlink()
                self._ends = HostEnds(self._host, self._host_netns, self._tag)
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
                self._ends.try_guard()
                lacks = (*self._traffic.lacks, self._ends.lack) if self._ends.lack else tuple(self._traffic.lacks)
                return replace(self._traffic.abilities(vlan_filtering=filters), lacks=lacks)
            except BaseException:
                self.close()
                if is_new:
                    netns.remove(self._tag)
                raise

    def close(self) -> None:
        """Let go of it; the thread is back on the host."""
        if self._host:
            self._ends.close()
        for one in (self._netlink, self._host):
            if one:
                one.close()
        self._netlink = self._host = self._traffic = None
        if self._host_netns >= 0:
            netns.enter(self._host_netns)
            os.close(self._host_netns)
            self._host_netns = -1

    def destroy(self) -> None:
        """Remove it with all that is in it; see `Fabric.destroy`. It need not be open, and is not afterwards.

        Raises FabricError, and keeps it, if an interface of the host cannot be given back: it could be lost.
        """
        with _refusals("the network namespace of minibus cannot be removed"):
            if self._netlink is None and netns.exists(self._tag):
                self.open()
            if self._netlink:
                for interface in self._ports.trunks:
                    self._ends.take_back(self._netlink, interface)
                for group in (GUESTS, HOST_TAPS):
                    remove_group(self._netlink, group)  # bridges go with the network namespace, and nobody waits
            had_host_taps = self._netlink is not None and any(known.is_host for known in self._ports.known.values())
            self.close()
            netns.remove(self._tag)
            _remove_marked(self._tag, had_any=had_host_taps)

    def survey(self) -> Survey:
        """What exists, looked up."""
        with _refusals("the networks cannot be looked at"):
            self._read()
            netns.keep(self._tag)
            self._ports.tidy()
            self._ends.guard()
        ports = {
            name: Seen(known.segment, is_host=known.is_host, on_host=known.on_host)
            for name, known in self._ports.known.items()
        }
        segments = frozenset(seen.segment for seen in ports.values() if seen.segment)
        trunks = frozenset((bridge, name) for name, bridge in self._ports.trunks.items())
        return Survey(ports, segments, trunks, self._traffic.mirrors() if self._traffic else frozenset())

    # --- ports

    def add_ports(self, ports: list[Port]) -> dict[str, str]:
        """Make interfaces of guests; see `Fabric.add_ports`."""
        with _refusals("interfaces cannot be made"):
            self._traffic_of_ports().after_removal([port.name for port in ports if port.name in self._ports.known])
            return self._ports.add(ports)

    def remove_ports(self, names: list[str]) -> None:
        """Remove ports of either kind; see `Fabric.remove_ports`."""
        with _refusals("interfaces cannot be removed"):
            traffic = self._traffic_of_ports()
            traffic.before_removal(names)
            with_host = any(known.is_host for name, known in self._ports.known.items() if name in names)
            self._ports.remove(names)
            traffic.after_removal(names)
            if with_host:
                self._ends.guard()

    def plug(self, name: str, segment: Segment | None) -> None:
        """Move a port; see `Fabric.plug`."""
        with _refusals(f"{name} cannot be moved"):
            self._ports.plug(name, segment)

    def add_host_port(self, port: HostPort) -> None:
        """Make a host tap; see `Fabric.add_host_port`."""
        with _refusals(f"{port.name} cannot be made"):
            self._ports.add_on_host(port, self._ends)

    def name_taken(self, name: str) -> bool:
        """Whether an interface of the host is called so."""
        with _refusals("the interfaces of this host cannot be looked at"):
            return self._ends.find(name) is not None

    def trunk(self, bridge: str, interface: str, force: bool = False) -> None:
        """Plug an interface of the host in; see `Fabric.trunk`."""
        with _refusals(f"{interface} cannot be plugged in"):
            self._ports.trunk(bridge, interface, self._ends, force=force)

    def untrunk(self, bridge: str, interface: str) -> None:
        """Give it back; see `Fabric.untrunk`."""
        with _refusals(f"{interface} cannot be given back"):
            self._ports.untrunk(bridge, interface, self._ends)

    def carries_default_route(self, interface: str) -> bool:
        """Whether the host reaches the world through it."""
        with _refusals("the routes of this host cannot be looked at"):
            return self._ends.carries_default_route(interface)

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
        return self._traffic_of_ports().shape(name, shaping)

    def mirror(self, source: str, destination: str) -> None:
        """Copy traffic; see `Fabric.mirror`."""
        self._traffic_of_ports().mirror(source, destination)

    def unmirror(self, destination: str) -> None:
        """No more copies; see `Fabric.unmirror`."""
        self._traffic_of_ports().unmirror(destination)

    def addresses(self) -> dict[str, Addresses]:
        """By port, as learned."""
        found = self._traffic_of_ports().addresses()
        return {name: addresses for name, addresses in found.items() if name in self._ports.known}

    def _traffic_of_ports(self) -> Traffic:
        if self._traffic is None:
            raise FabricError(_NOT_OPEN)
        return self._traffic

    # --- what the kernel has

    def _own(self) -> Netlink:
        if self._netlink is None:
            raise FabricError(_NOT_OPEN)
        return self._netlink

    def _filters(self, netlink: Netlink) -> bool:
        """Whether bridges filter VLANs; the devices that exist decide, then what was asked for, then what works."""
        found = {link.alias.split(" ")[1:2] == [str(ALL)] for link in links.listed(netlink) if link.group == BRIDGES}
        if found:
            return True in found
        if self._way not in ("", PLAIN, FILTERING):
            raise FabricError(f"MINIBUS_FABRIC must be {PLAIN} or {FILTERING}, not {self._way!r}")
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
        """Take over what exists."""
        netlink = self._own()
        found = links.listed(netlink)
        self._segments.read(found)
        members = {name: part.key for part in self._segments.parts() for name in part.ports}
        filtered = any(key[1] == ALL for key in members.values())
        vlans = links.port_vlans(netlink) if filtered else {}
        own = {link.name: _segment(members.get(link.name), vlans.get(link.ifindex, [])) for link in found}
        self._ports.known = {
            link.name: Known(link.ifindex, own[link.name], link.group == HOST_TAPS, self._is_whole(link))
            for link in found
            if link.group in (GUESTS, HOST_TAPS)
        }
        notes = {link: note for link in found if (note := read_note(link.alias))}
        for link in notes:
            if not link.master:  # whoever moved it ended before it was plugged in
                self._ends.take_back(netlink, link.name)
        self._ports.trunks = {link.name: note[0] for link, note in notes.items() if link.master}

    def _is_whole(self, link: Link) -> bool:
        """Whether the end on the host is there, if it should be."""
        return link.group != HOST_TAPS or self._ends.is_own(link.name)


def _remove_marked(tag: str, *, had_any: bool) -> None:
    """The ends of host taps whose other ends are nowhere that can be reached."""
    before = netns.open_own()
    try:
        with contextlib.closing(Netlink()) as host:
            ends = HostEnds(host, before, tag)
            if had_any or ends.marked():
                ends.remove_marked()
    finally:
        os.close(before)


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
