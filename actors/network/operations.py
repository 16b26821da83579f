"""What the network actor has done in the kernel, one operation at a time, and what comes of it.

An operation is part of the state until its outcome is known. After a crash it is done again, which is harmless: what
the first attempt left is removed before (`audit.py`).
"""

from __future__ import annotations

import msgspec

from bus.actor.step import Input
from bus.messages.network import Shaping
from shims.network.base import Port, Segment


class Repair(msgspec.Struct, frozen=True):
    """Something in the kernel was not as it should be, and has been mended."""

    tap: str
    what: str


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of them all."""


class GuestPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Interfaces of one guest, to be made all or none."""

    vm_id: int
    pid: int
    ports: tuple[Port, ...]


class Plug(Operation, frozen=True, kw_only=True, tag="plug"):
    """Make interfaces; errors and warnings that come of it are by VM, but by tap where only constraints are lost."""

    guests: tuple[GuestPorts, ...]
    shapings: dict[str, Shaping] = {}
    mirrors: tuple[tuple[str, str], ...] = ()
    """Source and destination, of which one is among these interfaces."""
    new_bridges: tuple[str, ...] = ()
    """Not in use so far: the host must have no interface of that name."""


class Remove(Operation, frozen=True, kw_only=True, tag="remove"):
    """Remove interfaces and host taps, and the mirrors that end in these; errors are by tap."""

    taps: tuple[str, ...]
    mirrors: tuple[str, ...] = ()


class Move(Operation, frozen=True, kw_only=True, tag="move"):
    """Plug interfaces in elsewhere, or nowhere; errors are by tap."""

    taps: tuple[str, ...]
    segments: tuple[Segment | None, ...]
    new_bridges: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    """Destinations of mirrors whose ends will be on different bridges: those are ended."""


class Shape(Operation, frozen=True, kw_only=True, tag="shape"):
    """Put these constraints in place of the present ones; errors and warnings are by tap."""

    shapings: dict[str, Shaping]


class AddTap(Operation, frozen=True, kw_only=True, tag="add_tap"):
    """Make a host tap; without a name it gets the first one from `number` on that is free."""

    name: str
    number: int
    taken: tuple[str, ...]
    """Generated names that are given already, to ends that the host cannot see."""
    segment: Segment
    addresses: tuple[str, ...] = ()
    new_bridges: tuple[str, ...] = ()


class Mirror(Operation, frozen=True, kw_only=True, tag="mirror"):
    """Begin to copy."""

    source: str
    destination: str


class Unmirror(Operation, frozen=True, kw_only=True, tag="unmirror"):
    """Copy no more to these; errors are by tap."""

    destinations: tuple[str, ...]


class Trunk(Operation, frozen=True, kw_only=True, tag="trunk"):
    """Plug an interface of the host into a bridge."""

    bridge: str
    interface: str
    force: bool
    new_bridges: tuple[str, ...] = ()


class Untrunk(Operation, frozen=True, kw_only=True, tag="untrunk"):
    """Take it out again."""

    bridge: str
    interface: str


class Audit(Operation, frozen=True, kw_only=True, tag="audit"):
    """Compare what exists with what should, and mend it."""


AnyOperation = Plug | Remove | Move | Shape | AddTap | Mirror | Unmirror | Trunk | Untrunk | Audit


class Worked(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.worked"):
    """The operation under way has come to its end."""

    number: int
    """Of the operation: each has another."""
    failed: str = ""
    """Why nothing at all could be done; empty otherwise."""
    code: str = ""
    """Of `failed`, as in `bus.errors`."""
    errors: dict[str, str] = {}  # noqa: RUF012 - msgspec gives each instance its own
    warnings: dict[str, tuple[str, ...]] = {}  # noqa: RUF012
    ticks: dict[int, int] = {}  # noqa: RUF012
    """Start times of the processes of guests that have been plugged in, by VM."""
    name: str = ""
    """Of the tap that was made."""
    repairs: tuple[Repair, ...] = ()
    lost: tuple[int, ...] = ()
    """Guests whose process is gone, and their interfaces with it."""


class AuditDue(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.audit_due"):
    """It is time to look whether all is as it should be."""


class Leased(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.leased"):
    """A tap has got an address by DHCP, or its lease has ended and `address` is empty."""

    tap: str
    address: str = ""


class NoLease(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.no_lease"):
    """A tap that somebody waits for gets no address."""

    tap: str
    message: str
