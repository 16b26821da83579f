"""Interfaces of guests in the fabric: made, removed and moved in batches."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shims.netlink import links
from shims.netlink.links import IFLA_GROUP, IFLA_MASTER
from shims.netlink.netlink import Message, Netlink, NetlinkError, number
from shims.network import netns
from shims.network.base import FabricError, HostPort, Port, Segment
from shims.network.host_ends import HostEnds
from shims.network.segments import GUESTS, HOST_TAPS, SCRATCH, TRUNKS, Part, Segments, remove_devices

_EXCHANGE_FULL: Final = 54
"""EXFULL, which a bridge says that has all the ports it can have."""


@dataclass(slots=True)
class Known:
    """One port as it is remembered."""

    ifindex: int
    segment: Segment | None
    is_host: bool = False
    on_host: bool = True


class Ports:
    """All ports of a fabric, by name."""

    def __init__(self, netlink: Netlink, segments: Segments, foreign: Sequence[os.stat_result]) -> None:
        """`foreign` are the network namespaces in which no end of a guest may appear: the host's and the fabric's."""
        self._netlink = netlink
        self._segments = segments
        self._foreign = {(one.st_dev, one.st_ino) for one in foreign}
        self.known: dict[str, Known] = {}
        self.trunks: dict[str, str] = {}
        """Interface of the host to bridge."""

    # --- make

    def add(self, ports: Sequence[Port]) -> dict[str, str]:
        """See `Fabric.add_ports`."""
        refused: dict[str, str] = {}
        with contextlib.ExitStack() as held:
            places = self._open_all(ports, held, refused)
            left = [port for port in ports if port.name not in refused]
            again = self._add_once(left, places, refused)
            if again:
                self.remove([port.name for port in again])
                for port in self._add_once(again, places, refused):
                    refused[port.name] = f"{port.name} cannot be made: the guest has a {port.peer} already"
        if refused:
            self.remove(list(refused))
        return refused

    def _open_all(self, ports: Iterable[Port], held: contextlib.ExitStack, refused: dict[str, str]) -> dict[int, int]:
        """A descriptor of the network namespace of each guest: a pid may soon mean another one."""
        places: dict[int, int] = {}
        for port in ports:
            if port.pid in places:
                continue
            try:
                descriptor = os.open(f"/proc/{port.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                refused[port.name] = f"{port.name} cannot be made: the guest has ended"
                continue
            held.callback(os.close, descriptor)
            status = os.stat(descriptor)
            if (status.st_dev, status.st_ino) in self._foreign:
                refused[port.name] = f"{port.name} cannot be made: the guest has no network namespace of its own"
                continue
            places[port.pid] = descriptor
        return places

    def _add_once(self, ports: Sequence[Port], places: dict[int, int], refused: dict[str, str]) -> list[Port]:
        """Returns those of which there is something already; the others that fail are in `refused`."""
        wanted: list[tuple[Port, Known, Message]] = []
        for port in ports:
            try:
                wanted.append(self._wanted(port, places[port.pid]))
            except (NetlinkError, FabricError) as error:
                refused[port.name] = _sentence(port, error)
        again: list[Port] = []
        made: list[Port] = []
        outcomes = self._netlink.batch([message for _, _, message in wanted])
        for (port, known, _), outcome in zip(wanted, outcomes, strict=True):
            if outcome is None:
                self.known[port.name] = known
                made.append(port)
                continue
            self._segments.forget([port.name])
            if outcome.errno == errno.EEXIST:
                again.append(port)
            else:
                refused[port.name] = _sentence(port, outcome)
        self._settle(made, refused)
        return again

    def _wanted(self, port: Port, place: int) -> tuple[Port, Known, Message]:
        known = Known(self._segments.new_index(), port.segment)
        part = self._segments.place(port.segment, port.name) if port.segment else None
        message = links.new_veth(
            port.name,
            port.peer,
            index=known.ifindex,
            group=GUESTS,
            master=part.index if part else 0,
            peer_place=links.in_netns(place),
            peer_mac=port.mac,
        )
        return port, known, message

    def add_on_host(self, port: HostPort, ends: HostEnds) -> None:
        """See `Fabric.add_host_port`."""
        if port.name in self.known:
            raise FabricError(f"there is a port {port.name} already")
        if ends.find(port.name):
            raise FabricError(f"this host has an interface {port.name} already")
        if links.find(self._netlink, port.name):  # a bridge perhaps, which would be removed with what fails
            raise FabricError(f"{port.name} is the name of a device in the networks of minibus")
        known = Known(self._segments.new_index(), port.segment, is_host=True)
        try:
            part = self._segments.place(port.segment, port.name)
            pair = links.new_veth(
                port.name,
                port.name,
                index=known.ifindex,
                group=SCRATCH,  # until it is whole: what a crash leaves is removed by the next one
                master=part.index,
                peer_place=links.in_netns(ends.descriptor),
            )
            for message in [pair, *self._segments.joining(port.segment, known.ifindex)]:
                self._netlink.ask(message)
            ends.dress(port)
            self._netlink.ask(links.look_at(known.ifindex))
            self._netlink.ask(links.set_link(port.name, number(IFLA_GROUP, HOST_TAPS)))
        except (OSError, ValueError, FabricError) as error:
            self.remove([port.name])
            raise FabricError(_sentence(port, error)) from error
        self.known[port.name] = known

    def _settle(self, made: Sequence[Port], refused: dict[str, str]) -> None:
        """Let them into their VLANs, where the bridge asks for that."""
        messages = []
        for port in made:
            ifindex = self.known[port.name].ifindex
            joining = self._segments.joining(port.segment, ifindex) if port.segment else []
            messages += [(port, message) for message in [*joining, links.look_at(ifindex)]]
        outcomes = self._netlink.batch([message for _, message in messages])
        for (port, _), error in zip(messages, outcomes, strict=True):
            if error:
                refused[port.name] = _sentence(port, error)

    # --- remove, move

    def remove(self, names: Iterable[str]) -> None:
        """See `Fabric.remove_ports`; raises NetlinkError."""
        names = list(names)
        self._segments.forget(names)
        for name in names:
            self.known.pop(name, None)
        remove_devices(self._netlink, [*names, *self._segments.tidy()])

    def tidy(self) -> None:
        """Remove some empty segments; raises NetlinkError."""
        remove_devices(self._netlink, self._segments.tidy())

    def plug(self, name: str, segment: Segment | None) -> None:
        """See `Fabric.plug`."""
        known = self.known.get(name)
        if known is None:
            raise FabricError(f"there is no port {name}")
        before = self._segments.part_of(name)
        self._segments.forget([name])
        after: Part | None = None
        try:
            after = self._segments.place(segment, name) if segment else None
            self._move(name, known, before, after, segment)
        except (NetlinkError, FabricError) as error:
            self._segments.forget([name])
            with contextlib.suppress(NetlinkError):
                self._move(name, known, after, before, known.segment)
            if before:
                before.ports.add(name)
            raise FabricError(f"{name} cannot be plugged in there: {_reason(error)}") from error
        known.segment = segment
        self.tidy()

    def _move(self, name: str, known: Known, old: Part | None, new: Part | None, segment: Segment | None) -> None:
        """At no moment is it in both, nor in another VLAN: a port that joins a filtering bridge is in none."""
        steps: list[Message] = []
        if old is new and old is not None:
            steps = self._segments.leaving(old, known.ifindex)
        else:
            steps = [links.set_link(name, number(IFLA_MASTER, new.index if new else 0))]
        for message in [*steps, *(self._segments.joining(segment, known.ifindex) if segment else [])]:
            self._netlink.ask(message)

    # --- interfaces of the host

    def trunk(self, bridge: str, interface: str, ends: HostEnds, *, force: bool) -> None:
        """See `Fabric.trunk`."""
        if interface in self.known or interface in self.trunks:
            raise FabricError(f"{interface} is plugged in already")
        own = netns.open_own()
        try:
            ends.give(bridge, interface, own, force=force)
        finally:
            os.close(own)
        try:
            part = self._segments.place(Segment(bridge, 0), interface)
            changes = number(IFLA_GROUP, TRUNKS) + number(IFLA_MASTER, part.index)
            self._netlink.ask(links.set_link(interface, changes, up=True))
            ifindex = links.named(self._netlink, interface).ifindex
            for message in self._segments.joining(Segment(bridge, 0), ifindex):
                self._netlink.ask(message)
        except (NetlinkError, FabricError):
            self._segments.forget([interface])
            ends.take_back(self._netlink, interface)
            self.tidy()
            raise
        self.trunks[interface] = bridge

    def untrunk(self, bridge: str, interface: str, ends: HostEnds) -> None:
        """See `Fabric.untrunk`."""
        if self.trunks.get(interface) != bridge:
            raise FabricError(f"{interface} is no trunk of {bridge}")
        ends.take_back(self._netlink, interface)
        del self.trunks[interface]
        self._segments.forget([interface])
        self.tidy()


def _sentence(port: Port | HostPort, error: Exception) -> str:
    return f"{port.name} cannot be made: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return "there are too many ports in its segment" if error.errno == _EXCHANGE_FULL else error.strerror or ""
    return str(error)


def counted(lines: Iterator[str], is_meant: Callable[[str], bool]) -> Iterator[tuple[str, int, int]]:
    """Name, bytes received and bytes sent of each interface in the text of /proc/net/dev that is meant."""
    for line in lines:
        name, colon, rest = line.partition(":")
        name = name.strip()
        if colon and is_meant(name):
            fields = rest.split()
            yield name, int(fields[0]), int(fields[8])
