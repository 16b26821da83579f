"""The network actor's step with a fabric in memory: operations are done as they come, or held back."""

from __future__ import annotations

import itertools
import os
from typing import Any

from actors.network.audit import picture
from actors.network.operations import AuditDue, Worked
from actors.network.state import step
from actors.network.table import NetworkTable, RunOperation, Warn
from actors.network.worker import work
from bus.actor.step import Effect, Fail, Input, Publish, Recovered
from bus.messages.base import DEFAULT_NAMESPACE, Message, Request
from bus.messages.network import GuestNic, Netspec, Plugged, PlugGuests, PlugReport
from shims.network.base import Fabric
from tests.unit.actors.network.fake_fabric import FakeFabric
from tests.unit.actors.steps import only, received, replies, through_journal, through_snapshot

PID = os.getpid()
"""Of a process that lives."""


class Model:
    """See the module. All inputs pass the journal, all states can be restored from a snapshot."""

    def __init__(self) -> None:
        self.table = NetworkTable()
        self.fabric = FakeFabric()
        self._checked: Fabric = self.fabric  # mypy: it is one
        self.effects: list[Effect] = []
        self.held: list[RunOperation] = []
        self.holds = False
        """Operations wait in `held` instead of being done."""
        self._ids = itertools.count(1)

    def feed(self, inp: Input) -> list[Effect]:
        """One input, and those that follow from it; returns all effects."""
        effects = step(self.table, through_journal(inp))
        self.table = through_snapshot(self.table)
        self.effects += effects
        found = list(effects)
        for effect in only(RunOperation, effects):
            if self.holds:
                self.held.append(effect)
            else:
                found += self.feed(self.do(effect))
        return found

    def do(self, effect: RunOperation) -> Worked:
        """What comes of an operation."""
        return work(self.fabric, effect.number, effect.operation, picture(self.table))

    def release(self) -> list[Effect]:
        """Do what was held back, and all that follows."""
        self.holds = False
        held, self.held = self.held, []
        return [effect for one in held for effect in self.feed(self.do(one))]

    def crash(self) -> list[Effect]:
        """The actor dies and comes back; what was under way may have been done in the kernel or not."""
        self.held = []
        return self.feed(Recovered())

    def audit(self) -> list[Effect]:
        """Time has passed."""
        return self.feed(AuditDue())

    def send(self, request: Request[Any], msg_id: str = "", namespace: str = DEFAULT_NAMESPACE) -> str:
        """A request; returns its id."""
        number = next(self._ids)
        msg_id = msg_id or f"m{number}"
        self.feed(received(request, msg_id, namespace=namespace, seed=number))
        return msg_id

    def ask(self, request: Request[Any], namespace: str = DEFAULT_NAMESPACE) -> Message | Fail:
        """A request and its answer."""
        msg_id = self.send(request, namespace=namespace)
        return self.answers[msg_id]

    def refused(self, request: Request[Any], namespace: str = DEFAULT_NAMESPACE) -> tuple[str, str]:
        """Code and sentence of a failure."""
        reply = self.ask(request, namespace)
        assert isinstance(reply, Fail), reply
        return reply.code, reply.message

    @property
    def answers(self) -> dict[str, Message | Fail]:
        """All answers so far; raises ValueError if one was given twice."""
        return replies(self.effects)

    def plug(self, *guests: GuestNic) -> tuple[Plugged, ...]:
        """Plug guests in."""
        reply = self.ask(PlugGuests(guests=guests))
        assert isinstance(reply, PlugReport), reply
        return reply.guests

    def taps(self, vm_id: int) -> list[str]:
        """Names of the interfaces of a guest."""
        return [nic.tap for nic in self.table.guests[vm_id].nics]


def guest(vm_id: int, *networks: Netspec, pid: int = PID, namespace: str = DEFAULT_NAMESPACE) -> GuestNic:
    """A guest as `vm` names it."""
    return GuestNic(vm_id=vm_id, name=f"vm{vm_id}", namespace=namespace, pid=pid, networks=networks)


def net(vlan: int, **fields: Any) -> Netspec:
    """An interface as configured."""
    return Netspec(vlan=vlan, **fields)


def told(effects: list[Effect]) -> list[tuple[str, str, str, int]]:
    """Of each event: what has happened, tap, bridge, VLAN."""
    found: list[tuple[str, str, str, int]] = []
    for effect in only(Publish, effects):
        event: Any = effect.event
        found.append((effect.topic.split("/")[-2], event.tap, event.bridge, event.vlan))
    return found


def logged(effects: list[Effect]) -> list[str]:
    """What is to be logged."""
    return [effect.event for effect in only(Warn, effects)]
