"""What the actor `network` asks of the kernel: types, and an interface, which the fabric has and a twin for tests.

All devices of guests live in one network namespace of our own, the *fabric*, `minibus_<tag>`: the host's links, routes,
neighbours and nftables rules are never touched, and nothing in the fabric has an address, so that no guest can reach
the host through it. Only a host tap has a second end on the host.

Every method is synchronous and may block; the actor calls them one at a time, in a thread. Lists in, lists out: what
can be done for hundreds of devices is one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bus.messages.network import Shaping


class FabricError(Exception):
    """The kernel refused; `str()` is one sentence for the user, and nothing half-done is left."""


class Segment(NamedTuple):
    """One VLAN of one bridge name; VLAN 0 is a port that sees all VLANs of the bridge, with tags."""

    bridge: str
    vlan: int


@dataclass(frozen=True, slots=True)
class Port:
    """One interface of a guest: a veth pair of which one end is plugged into the fabric."""

    name: str
    """In the fabric, e.g. `mega_tap7`."""
    segment: Segment | None
    """None: the device exists and is plugged in nowhere."""
    pid: int
    """A process in the network namespace where the other end goes."""
    peer: str
    """Name of the other end, e.g. `veth0`; it is not brought up."""
    mac: str
    """Of the other end."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host tap: one end in the fabric, one on the host, of the same name."""

    name: str
    segment: Segment
    addresses: tuple[str, ...] = ()
    """With prefix length; the end on the host gets them, and is brought up."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel says of one port."""

    segment: Segment | None
    is_host: bool = False
    on_host: bool = True
    """Of a host tap: whether the end on the host is still there."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that exists; compared with what should."""

    ports: dict[str, Seen] = field(default_factory=dict)
    segments: frozenset[Segment] = frozenset()
    trunks: frozenset[tuple[str, str]] = frozenset()
    """Bridge and interface of the host."""
    mirrors: frozenset[tuple[str, str]] = frozenset()
    """Source and destination."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Bytes since the port was made, from the guest's point of view."""

    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a guest was last seen to use as its own, learned from its traffic; empty if nothing was."""

    ip: str = ""
    ip6: str = ""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this kernel can do; found out by trying, once."""

    vlan_filtering: bool
    netem: bool
    tbf: bool
    learning: bool
    mirroring: bool
    lacks: tuple[str, ...] = ()
    """A sentence for each thing that does not work, with what would help."""


class Fabric(Protocol):
    """See the module. Methods that take names ignore those that do not exist, unless they say otherwise."""

    def open(self) -> Abilities:
        """Enter the fabric, which is made if there is none; raises FabricError."""
        ...

    def close(self) -> None:
        """Let go of it; everything stays."""
        ...

    def destroy(self) -> None:
        """Remove the fabric with all that is in it and the ends on the host; gives back interfaces of the host."""
        ...

    def survey(self) -> Survey:
        """What exists."""
        ...

    def add_ports(self, ports: list[Port]) -> dict[str, str]:
        """Make them, with their segments; returns a sentence for each that could not be made, of which nothing is left.

        A leftover of the same name is replaced.
        """
        ...

    def remove_ports(self, names: list[str]) -> None:
        """Remove ports of either kind; returns when the kernel has none of them.

        Of empty segments some go each time, because the kernel takes its time for them.
        """
        ...

    def plug(self, name: str, segment: Segment | None) -> None:
        """Move a port; if that fails it is where it was. Raises FabricError, also for an unknown port."""
        ...

    def add_host_port(self, port: HostPort) -> None:
        """Make a host tap; raises FabricError, and leaves nothing, if the name is taken or an address is refused."""
        ...

    def name_taken(self, name: str) -> bool:
        """Whether an interface of the host is called so."""
        ...

    def trunk(self, bridge: str, interface: str, force: bool = False) -> None:
        """Plug an interface of the host into a bridge, with tags for its VLANs; raises FabricError.

        It moves into the fabric, and is not on the host meanwhile. One that has addresses is refused unless forced;
        they come back with it, routes do not. A port of a bridge of the host is always refused.
        """
        ...

    def untrunk(self, bridge: str, interface: str) -> None:
        """Give it back to the host as it was; raises FabricError, also for one that is no trunk of this bridge."""
        ...

    def carries_default_route(self, interface: str) -> bool:
        """Whether the host reaches the world through it, or through what is stacked on it."""
        ...

    def shape(self, name: str, shaping: Shaping) -> list[str]:
        """Put these constraints in place of the present ones; returns what users should know, one sentence each.

        Raises FabricError if the kernel cannot do all of it; the earlier constraints are in force then.
        """
        ...

    def mirror(self, source: str, destination: str) -> None:
        """Copy the traffic of a port, both directions, to another; raises FabricError."""
        ...

    def unmirror(self, destination: str) -> None:
        """No more copies go there."""
        ...

    def counters(self) -> dict[str, Counters]:
        """By port."""
        ...

    def addresses(self) -> dict[str, Addresses]:
        """By port; only where something was seen."""
        ...
