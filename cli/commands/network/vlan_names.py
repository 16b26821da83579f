"""Aliases of VLANs: for commands that print VLANs, asked for beside the command's own question, and looked up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from bus.errors import BusError
from bus.language.netspec import vlan_labels
from bus.messages.vlan import DISCONNECTED, GetVlans, ResolveVlans, ReturnVlans, Vlan, VlanTable
from cli.commands.declare import QUICK_S, Also, Call

VLANS = Also("namespace", lambda args: GetVlans())


def labels(table: VlanTable | None) -> dict[int, str]:
    """What to print for VLANs that have an alias; the bare numbers do if nobody could say."""
    return {} if table is None else vlan_labels(table.aliases, table.namespace)


async def look_up(call: Call, texts: Iterable[str]) -> Sequence[Vlan]:
    """VLANs as typed; new aliases get numbers. Raises BusError."""
    request = ResolveVlans(texts=tuple(texts))
    reply = await call.engine.ask("namespace", request, timeout_s=QUICK_S, namespace=call.session.namespace)
    return reply.vlans


async def give_back(call: Call, vlans: Sequence[Vlan]) -> None:
    """What they were looked up for has failed, so that nothing is plugged into them."""
    aliases = tuple(vlan.alias for vlan in vlans if vlan.alias)
    numbers = tuple(vlan.number for vlan in vlans if not vlan.alias and vlan.number != DISCONNECTED)
    if aliases or numbers:
        request = ReturnVlans(aliases=aliases, numbers=numbers)
        with contextlib.suppress(BusError):  # then they stay known, which does no harm
            await call.engine.ask("namespace", request, timeout_s=QUICK_S, namespace=call.session.namespace)
