"""A fabric in memory, for tests: keeps what it is told, and fails where a test wants it to."""

from __future__ import annotations

from collections.abc import Iterable

from bus.messages.network import Shaping
from shims.network.base import (
    Abilities,
    Addresses,
    Counters,
    FabricError,
    HostPort,
    Port,
    Seen,
    Segment,
    Survey,
)

REFUSED = "the kernel refused"


class FakeFabric:
    """See the module; a test may read and change what is public, as the world changes the kernel."""

    def __init__(self) -> None:
        self.is_open = False
        self.exists = False
        self.ports: dict[str, Port] = {}
        self.taps: dict[str, HostPort] = {}
        self.moved_away: set[str] = set()
        """Host taps whose end somebody has taken from the host."""
        self.trunks: set[tuple[str, str]] = set()
        self.shapings: dict[str, Shaping] = {}
        self.mirrors: dict[str, str] = {}
        """Destination to source."""
        self.host = {"lo", "eth0"}
        """Interfaces of the host, besides host taps."""
        self.default_route = "eth0"
        self.traffic: dict[str, Counters] = {}
        self.learned: dict[str, Addresses] = {}
        self.lacks: tuple[str, ...] = ()
        self.refuses: set[str] = set()
        """Names of ports, and of methods, with which nothing works."""
        self.breaks: set[str] = set()
        """Names of methods that end in an error nobody expects."""
        self.calls: list[str] = []
        """Names of the methods that were called."""

    def open(self) -> Abilities:
        """See `Fabric`."""
        self._called("open")
        self.is_open = self.exists = True
        return Abilities(vlan_filtering=True, netem=True, tbf=True, learning=True, mirroring=True, lacks=self.lacks)

    def close(self) -> None:
        """See `Fabric`."""
        self._called("close")
        self.is_open = False

    def destroy(self) -> None:
        """See `Fabric`."""
        self._called("destroy")
        for kept in (self.ports, self.taps, self.trunks, self.shapings, self.mirrors):
            kept.clear()
        self.is_open = self.exists = False

    def survey(self) -> Survey:
        """See `Fabric`."""
        self._called("survey")
        guests = {name: Seen(segment=port.segment) for name, port in self.ports.items()}
        hosts = {
            name: Seen(segment=tap.segment, is_host=True, on_host=name not in self.moved_away)
            for name, tap in self.taps.items()
        }
        seen = guests | hosts
        segments = frozenset(one.segment for one in seen.values() if one.segment is not None)
        mirrors = frozenset((source, destination) for destination, source in self.mirrors.items())
        return Survey(ports=seen, segments=segments, trunks=frozenset(self.trunks), mirrors=mirrors)

    def add_ports(self, ports: list[Port]) -> dict[str, str]:
        """See `Fabric`."""
        self._called("add_ports")
        failed = {port.name: f"{port.name}: {REFUSED}" for port in ports if port.name in self.refuses}
        for port in ports:
            self._forget(port.name)
            if port.name not in failed:
                self.ports[port.name] = port
        return failed

    def remove_ports(self, names: list[str]) -> None:
        """See `Fabric`."""
        self._called("remove_ports", *names)
        for name in names:
            self._forget(name)

    def plug(self, name: str, segment: Segment | None) -> None:
        """See `Fabric`."""
        self._called("plug", name)
        if name in self.taps and segment is not None:
            self.taps[name] = HostPort(name, segment, self.taps[name].addresses)
        elif name in self.ports:
            old = self.ports[name]
            self.ports[name] = Port(name, segment, old.pid, old.peer, old.mac)
        else:
            raise FabricError(f"there is no port {name}")

    def add_host_port(self, port: HostPort) -> None:
        """See `Fabric`."""
        self._called("add_host_port", port.name, *port.addresses)
        if self.name_taken(port.name):
            raise FabricError(f"{port.name} is taken")
        self.taps[port.name] = port

    def name_taken(self, name: str) -> bool:
        """See `Fabric`."""
        self._called("name_taken")
        return name in self.host or (name in self.taps and name not in self.moved_away)

    def trunk(self, bridge: str, interface: str, force: bool = False) -> None:
        """See `Fabric`."""
        self._called("trunk", interface)
        self.host.discard(interface)
        self.trunks.add((bridge, interface))

    def untrunk(self, bridge: str, interface: str) -> None:
        """See `Fabric`."""
        self._called("untrunk", interface)
        self.trunks.discard((bridge, interface))
        self.host.add(interface)

    def carries_default_route(self, interface: str) -> bool:
        """See `Fabric`."""
        return interface == self.default_route

    def shape(self, name: str, shaping: Shaping) -> list[str]:
        """See `Fabric`."""
        self._called("shape", name)
        self._known([name])
        self.shapings[name] = shaping
        return list(self.lacks)

    def mirror(self, source: str, destination: str) -> None:
        """See `Fabric`."""
        self._called("mirror", destination)
        self._known([source, destination])
        self.mirrors[destination] = source

    def unmirror(self, destination: str) -> None:
        """See `Fabric`."""
        self._called("unmirror", destination)
        self.mirrors.pop(destination, None)

    def counters(self) -> dict[str, Counters]:
        """See `Fabric`."""
        self._called("counters")
        return {name: self.traffic.get(name, Counters(0, 0)) for name in (*self.ports, *self.taps)}

    def addresses(self) -> dict[str, Addresses]:
        """See `Fabric`."""
        self._called("addresses")
        return {name: seen for name, seen in self.learned.items() if name in self.ports}

    def _called(self, method: str, *names: str) -> None:
        self.calls.append(method)
        if method in self.breaks:
            raise ZeroDivisionError(method)
        for name in (method, *names):
            if name in self.refuses:
                raise FabricError(f"{name}: {REFUSED}")

    def _known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.ports and name not in self.taps:
                raise FabricError(f"there is no port {name}")

    def _forget(self, name: str) -> None:
        self.ports.pop(name, None)
        self.taps.pop(name, None)
        self.shapings.pop(name, None)
        self.mirrors = {to: source for to, source in self.mirrors.items() if name not in (to, source)}
