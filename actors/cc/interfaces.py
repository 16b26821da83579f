"""Filters that name interfaces (`vlan`, `bridge`, `tap`, `ip6`): what is known of those is looked up when it is needed.

Few filters do, and following the interfaces of thousands of guests all the time would cost a launch; so a request whose
filter names them waits until they have been asked for, and while commands with such a filter are listed they are asked
for with every look at the VMs.
"""

from __future__ import annotations

from typing import Any, Final

from actors.cc.decisions.matching import INTERFACE_COLUMNS
from actors.cc.table import CcTable
from actors.cc.vm_watch import VmWatch
from bus.actor.step_actor import StepActor
from bus.errors import BusError
from bus.messages.base import Message
from bus.messages.cc import GuestFilter, PostCommand, SetFilter
from bus.messages.envelope import Envelope
from bus.messages.tunnel import OpenTunnel

LOOK_S: Final = 5.0
"""For the answers; without them a filter goes by what was known before."""


def names_interfaces(wanted: GuestFilter | None) -> bool:
    """Whether it takes the interfaces of guests to judge a filter."""
    return wanted is not None and any(column in INTERFACE_COLUMNS for column, _ in wanted.columns)


def are_wanted(table: CcTable, namespace: str) -> bool:
    """Whether a filter in force, or one of a listed command, names interfaces."""
    ledger = table.namespaces.get(namespace)
    return ledger is not None and (
        names_interfaces(ledger.filter) or any(names_interfaces(command.filter) for command in ledger.listed())
    )


def needs_a_look(table: CcTable, namespace: str, request: Message) -> bool:
    """Whether a request is judged by interfaces."""
    ledger = table.namespaces.get(namespace)
    in_force = ledger.filter if ledger is not None else None
    match request:
        case SetFilter(filter=wanted):
            return names_interfaces(wanted)
        case PostCommand(filter=wanted):
            return names_interfaces(in_force if wanted is None else wanted)
        case OpenTunnel():
            return names_interfaces(in_force)
        case _:
            return False


class LookingActor(StepActor[CcTable]):
    """An actor that looks at interfaces before it takes a request that is about them."""

    vms: VmWatch

    def take(self, envelope: Envelope, request: Any) -> None:
        """As the base; a repeat that comes meanwhile is recognised there."""
        if needs_a_look(self.state, envelope.namespace, request):
            self.spawn(self._look_first(envelope, request), name="interfaces")
        else:
            super().take(envelope, request)

    async def _look_first(self, envelope: Envelope, request: Message) -> None:
        await self.vms.look_at_interfaces(envelope.namespace, LOOK_S)
        try:
            super().take(envelope, request)
        except BusError as error:
            self._fail(envelope, error)
