"""The state of the `cc` actor: for each namespace its guests, its commands and how far each guest is with each.

A *serial* is the number of a command in its ledger and never used twice; an *id* is what users call it by. A guest
that a command is for and that has not begun has no `Progress`: whether it matches is judged anew each time it is asked,
so that filters follow the facts.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bus.messages.cc import CommandKind, CommandSpec, CommandState, GuestFilter
from bus.messages.mount import MountState
from bus.messages.vm import LIVE_STATES, GuestKind, VmState

FINAL = frozenset(CommandState) - {CommandState.WAITING, CommandState.RUNNING}
UNHURRIED = frozenset({CommandKind.EXEC, CommandKind.SEND, CommandKind.RECEIVE, CommandKind.PROBE})
"""Kinds that take turns in a guest; the others are done at once."""

Key = tuple[str, str]
"""A guest: namespace and UUID."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent said of its guest."""

    hostname: str = ""
    arch: str = ""
    os: str = ""
    release: str = ""
    ips: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()


class Vm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A VM as its owner tells of it."""

    vm_id: int
    namespace: str
    name: str
    uuid: str
    kind: GuestKind
    state: VmState
    backchannel: bool = True
    tags: dict[str, str] = {}
    columns: dict[str, str] = {}
    """Columns of `vm info` that filters may name."""
    interfaces: dict[str, tuple[str, ...]] = {}
    """Columns of its interfaces, each with what may be written for any of them; empty while no filter names any."""

    @property
    def key(self) -> Key:
        """Where it stands in the table."""
        return self.namespace, self.uuid

    @property
    def live(self) -> bool:
        """Whether there is something that an agent could run in."""
        return self.state in LIVE_STATES


class Guest(msgspec.Struct, omit_defaults=True):
    """A VM, and what is known of its agent."""

    vm: Vm
    facts: Facts = Facts()
    boot: str = ""
    """Of its last session; empty if it never had one."""
    agent: str = ""
    connected: bool = False
    """Or it was, when this actor ended."""
    flushed: bool = False
    """The VM is gone; what came of commands stays."""


class Progress(msgspec.Struct, omit_defaults=True):
    """How far one guest is with one command, from its beginning."""

    state: CommandState
    boot: str = ""
    """Of the guest, in which it ran."""
    agent: str = ""
    """It was handed to this agent, which keeps no records on a disk."""
    code: int = 0
    error: str = ""
    pid: int = 0
    started_s: float = 0.0
    ended_s: float = 0.0
    stdout: int = 0
    stderr: int = 0
    files: int = 0
    moved: int = 0
    """Bytes of files that have arrived, here or in the guest."""
    arrived: set[int] = set()
    """Indexes of the files that are in their places, while there are more to come."""
    dropped: dict[str, int] = {}
    """Bytes of each stream that were deleted while it ran: the files begin there."""

    @property
    def final(self) -> bool:
        """Whether nothing more is expected."""
        return self.state in FINAL


class Command(msgspec.Struct, omit_defaults=True):
    """One command."""

    id: int
    serial: int
    spec: CommandSpec
    posted_s: float
    filter: GuestFilter | None = None
    prefix: str = ""
    listed: bool = True
    """Or it was deleted, and goes on where it runs."""
    quiet: bool = False
    """Deleted, and ids have begun anew since: what it says goes nowhere."""
    cancelled: bool = False
    """Nobody begins it any more."""
    guests: dict[str, Progress] = {}
    """By UUID."""


class Tunnel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tunnel of one guest."""

    id: int
    source: int
    host: str
    port: int
    reverse: bool = False


class Mount(msgspec.Struct, omit_defaults=True):
    """Where a guest is mounted on this host."""

    path: str
    asked: str
    """As it was said; `path` is without symbolic links."""
    state: MountState
    source: str = ""
    """What the kernel calls it."""
    reason: str = ""


class Ledger(msgspec.Struct, omit_defaults=True):
    """A namespace."""

    name: str
    """Differs for each that was ever called so."""
    next_serial: int = 1
    next_id: int = 1
    archiving_s: float = 0.0
    """Time of the command before which the responses so far are put aside; 0 when that is done."""
    filter: GuestFilter | None = None
    prefix: str = ""
    commands: dict[int, Command] = {}
    """By serial, in order."""
    ids: dict[int, int] = {}
    """Of those that are listed: id to serial, in order."""
    guests: dict[str, Guest] = {}
    """By UUID."""
    listeners: dict[int, str] = {}
    """Port to address."""
    tunnels: dict[str, dict[int, Tunnel]] = {}
    """By UUID and id."""
    next_tunnel: int = 1
    mounts: dict[str, Mount] = {}
    """By UUID."""

    def listed(self) -> Iterator[Command]:
        """By id."""
        return (self.commands[serial] for serial in self.ids.values())

    def by_id(self, number: int) -> Command | None:
        """A listed command."""
        return self.commands.get(self.ids.get(number, 0))

    def forget_stranger(self, uuid: str) -> None:
        """Of a VM that is gone something is kept only while a command has a row for it."""
        guest = self.guests.get(uuid)
        if guest is not None and guest.flushed and all(uuid not in one.guests for one in self.commands.values()):
            del self.guests[uuid]

    def forget_strangers(self) -> None:
        """The same for all."""
        for uuid in [uuid for uuid, guest in self.guests.items() if guest.flushed]:
            self.forget_stranger(uuid)


class Waiting(msgspec.Struct, omit_defaults=True):
    """A request that is answered when the kernel or the disk has done its part."""

    namespace: str
    command: CommandSpec | None = None
    """To be posted."""
    filter: GuestFilter | None = None
    port: int = 0
    """To be listened on."""
    address: str = ""
    tunnels: tuple[tuple[str, int], ...] = ()
    """UUID and id of tunnels to be opened."""
    removal: tuple[int, ...] | None = None
    """Ids of responses to be removed; None if this is no removal, `everything` for all."""
    everything: bool = False
    mount: str = ""
    """UUID of the guest to be mounted."""
    unmounts: bool = False


class CcTable(msgspec.Struct):
    """All that the actor must not forget."""

    namespaces: dict[str, Ledger] = {}
    vms: dict[int, Key] = {}
    """Id to place in the table, of those that are registered."""
    waiting: dict[str, Waiting] = {}
    """By request."""

    def guest(self, key: Key) -> Guest | None:
        """A guest, also one that is flushed."""
        ledger = self.namespaces.get(key[0])
        return ledger.guests.get(key[1]) if ledger else None
