"""What the network actor knows: interfaces of guests, host taps, mirrors, trunks, and the work that is to be done.

One operation is under way at a time, and the table changes only when one begins or ends. So each request is judged by
a table that agrees with the kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator

import msgspec

from actors.network.operations import AnyOperation, Worked
from actors.network.services.server_table import ServerTable
from bus.actor.step import Effect
from bus.messages.network import (
    DEFAULT_BRIDGE,
    AddInterfaces,
    ClearMirrors,
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    MirrorTap,
    Netspec,
    PlugGuests,
    ShapeInterfaces,
    Shaping,
    TrunkBridge,
    UnplugGuests,
)
from bus.messages.vlan import DISCONNECTED
from shims.network.base import Port, Segment

Body = (
    PlugGuests
    | UnplugGuests
    | ForgetGuestNics
    | ConnectInterfaces
    | AddInterfaces
    | ShapeInterfaces
    | CreateTap
    | DeleteTaps
    | MirrorTap
    | ClearMirrors
    | TrunkBridge
    | EndNetworks
)


class Nic(msgspec.Struct, kw_only=True):
    """One interface of a guest."""

    tap: str
    bridge: str
    """Empty while it is disconnected."""
    vlan: int
    mac: str
    alias: str = ""
    """Of the VLAN, fully qualified, if it was named by one."""
    driver: str = ""
    shaping: Shaping = Shaping()
    is_up: bool = False
    """Whether its device exists."""

    @property
    def segment(self) -> Segment | None:
        """Where it is plugged in."""
        return None if self.vlan == DISCONNECTED else Segment(self.bridge, self.vlan)

    @property
    def spec(self) -> Netspec:
        """As it would be configured."""
        bridge = self.bridge or DEFAULT_BRIDGE
        return Netspec(bridge=bridge, vlan=self.vlan, alias=self.alias, mac=self.mac, driver=self.driver)


class Guest(msgspec.Struct, kw_only=True):
    """The interfaces of one VM, from its first launch until it is flushed."""

    vm_id: int
    name: str
    namespace: str
    nics: list[Nic] = []
    pid: int = 0
    """A process in its network namespace; 0 while it is not plugged in."""
    ticks: int = 0
    """When that process started: its pid may be another's by now."""

    def port(self, index: int, pid: int) -> Port:
        """What the kernel is asked for."""
        nic = self.nics[index]
        return Port(name=nic.tap, segment=nic.segment, pid=pid, peer=f"veth{index}", mac=nic.mac)


class Tap(msgspec.Struct, frozen=True, kw_only=True):
    """A host tap."""

    name: str
    namespace: str
    segment: Segment
    address: str = ""
    dhcp: bool = False
    """Its address is leased: empty while there is none."""


class MirrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What passes through one tap is copied to another."""

    source: str
    destination: str
    namespace: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is not answered yet."""

    msg_id: str
    namespace: str
    body: Body
    refusal: str = ""
    """What is answered once it is done: the tap that was asked for has got no address, and is removed."""


class Work(msgspec.Struct, kw_only=True):
    """What is under way: one operation, for one request or several of a kind."""

    jobs: list[Job] = []
    operation: AnyOperation | None = None
    """None: the kernel has no part in it."""
    number: int = 0
    errors: dict[str, str] = {}
    """What was refused before it began, by VM."""
    added: dict[int, int] = {}
    """By VM, how many interfaces the table has got in advance: those go again if they cannot be made."""


class NetworkTable(msgspec.Struct, kw_only=True):
    """State of the actor."""

    guests: dict[int, Guest] = {}
    taps: dict[str, Tap] = {}
    mirrors: dict[str, MirrorRecord] = {}
    """By destination."""
    trunks: dict[str, str] = {}
    """Interface of the host to bridge."""
    next_tap: int = 0
    queue: list[Job] = []
    under_way: Work | None = None
    interrupted: Work | None = None
    """What was under way when the actor died; it is done again after the first audit."""
    audit_wanted: bool = False
    leasing: dict[str, Job] = {}
    """Requests for taps that have no address yet, by tap."""
    works: int = 0
    revision: int = 0
    """Grows with every change of an interface of a guest that `vm` is told of."""
    tellings: dict[str, tuple[int, ...]] = {}
    """VMs whose interfaces `vm` is being told of, by tag of the ask."""
    dnsmasq: ServerTable = msgspec.field(default_factory=ServerTable)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a network would be needed for."""
        return not (self.guests or self.taps or self.trunks or self.queue or self.under_way or self.interrupted)

    def places(self) -> Iterator[tuple[Guest, int, Nic]]:
        """All interfaces of all guests."""
        return ((guest, index, nic) for guest in self.guests.values() for index, nic in enumerate(guest.nics))


class RunOperation(Effect, frozen=True, kw_only=True):
    """Have an operation done; it comes back as `Worked`."""

    number: int
    operation: AnyOperation
    cause: str = ""


class KeepLease(Effect, frozen=True, kw_only=True):
    """Lease an address for a tap, and renew it from now on; comes back as `Leased`, or once as `NoLease`."""

    tap: str
    is_new: bool
    """Nothing is known of an earlier lease, and somebody waits."""


class EndLease(Effect, frozen=True, kw_only=True):
    """The tap is gone."""

    tap: str


class Warn(Effect, frozen=True, kw_only=True):
    """Write to the log what nobody is there to be told."""

    event: str
    tap: str
    what: str


def failure(outcome: Worked, key: str) -> str:
    """Why the part of an operation with this key failed; empty if it did not."""
    return outcome.failed or outcome.errors.get(key, "")


def mirrors_of(table: NetworkTable, taps: Collection[str]) -> tuple[str, ...]:
    """Destinations of the mirrors that begin or end in one of these."""
    mirrors = table.mirrors.values()
    return tuple(one.destination for one in mirrors if one.source in taps or one.destination in taps)


def mirrors_between(table: NetworkTable, made: Collection[str] = ()) -> tuple[tuple[str, str], ...]:
    """Source and destination of the mirrors of which both ends exist, or are among those that are being made."""
    there = {*table.taps, *made, *(nic.tap for _, _, nic in table.places() if nic.is_up)}
    mirrors = table.mirrors.values()
    return tuple((one.source, one.destination) for one in mirrors if {one.source, one.destination} <= there)


def bridges_in_use(table: NetworkTable, *, besides: Container[str] = ()) -> set[str]:
    """Names of bridges that something is plugged into, or will be when its guest lives again; without some taps."""
    return {
        *(nic.bridge for _, _, nic in table.places() if nic.bridge and nic.tap not in besides),
        *(tap.segment.bridge for tap in table.taps.values()),
        *table.trunks.values(),
    }
