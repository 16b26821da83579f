"""Compares what the kernel has with what the table says, and says what is to be done about it. Pure.

What nobody here knows is removed first: it may be what an operation has left that was under way in a crash, and it may
have the name of something that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.network.table import NetworkTable, mirrors_between
from bus.messages.network import Shaping
from shims.network.base import HostPort, Port, Segment, Survey


@dataclass(frozen=True, slots=True)
class Picture:
    """What should exist."""

    ports: dict[str, tuple[int, Port]] = field(default_factory=dict)
    """Of guests, with their VM."""
    processes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Pid and start time, by VM."""
    taps: dict[str, HostPort] = field(default_factory=dict)
    trunks: frozenset[tuple[str, str]] = frozenset()
    shapings: dict[str, Shaping] = field(default_factory=dict)
    mirrors: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing should exist."""
        return not (self.ports or self.taps or self.trunks)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in this order."""

    remove: tuple[str, ...] = ()
    untrunk: tuple[tuple[str, str], ...] = ()
    add_ports: tuple[Port, ...] = ()
    add_taps: tuple[HostPort, ...] = ()
    move: tuple[tuple[str, Segment | None], ...] = ()
    trunk: tuple[tuple[str, str], ...] = ()
    unmirror: tuple[str, ...] = ()
    mirror: tuple[tuple[str, str], ...] = ()
    lost: tuple[int, ...] = ()
    """VMs whose process is gone."""

    @property
    def made(self) -> frozenset[str]:
        """Ports that are new, and have no constraints and no mirrors yet."""
        return frozenset([*(port.name for port in self.add_ports), *(tap.name for tap in self.add_taps)])


def picture(table: NetworkTable) -> Picture:
    """What should exist, by the table."""
    living = [guest for guest in table.guests.values() if guest.pid]
    up = [(guest, index, nic) for guest in living for index, nic in enumerate(guest.nics) if nic.is_up]
    return Picture(
        ports={nic.tap: (guest.vm_id, guest.port(index, guest.pid)) for guest, index, nic in up},
        processes={guest.vm_id: (guest.pid, guest.ticks) for guest in living},
        taps={
            tap.name: HostPort(name=tap.name, segment=tap.segment, addresses=(tap.address,) if tap.address else ())
            for tap in table.taps.values()
        },
        trunks=frozenset((bridge, interface) for interface, bridge in table.trunks.items()),
        shapings={nic.tap: nic.shaping for _, _, nic in up if nic.shaping != Shaping()},
        mirrors=mirrors_between(table),
    )


def compare(wanted: Picture, survey: Survey, living: frozenset[int]) -> Plan:
    """What is to be done; `living` are the VMs whose process is still there.

    A host tap whose end was moved away from the host is left alone: somebody meant that.
    """
    lost = frozenset(wanted.processes) - living
    ports = {name: port for name, (vm_id, port) in wanted.ports.items() if vm_id not in lost}
    seen = survey.ports
    strangers = [name for name, one in seen.items() if name not in (wanted.taps if one.is_host else ports)]
    present = seen.keys() - strangers
    made = {*ports, *wanted.taps} - present
    places = {name: port.segment for name, port in ports.items()} | {
        name: tap.segment for name, tap in wanted.taps.items()
    }
    mirrors = [one for one in wanted.mirrors if one[0] in places and one[1] in places]
    return Plan(
        remove=tuple(sorted(strangers)),
        untrunk=tuple(sorted(survey.trunks - wanted.trunks)),
        add_ports=tuple(port for name, port in ports.items() if name not in present),
        add_taps=tuple(tap for name, tap in wanted.taps.items() if name not in present),
        move=tuple(
            (name, segment) for name, segment in places.items() if name in present and seen[name].segment != segment
        ),
        trunk=tuple(sorted(wanted.trunks - survey.trunks)),
        unmirror=tuple(sorted(to for source, to in survey.mirrors - frozenset(mirrors))),
        mirror=tuple(one for one in mirrors if one not in survey.mirrors or not made.isdisjoint(one)),
        lost=tuple(sorted(lost)),
    )
