"""Aliases of VLANs for commands that print VLANs: asked for beside the command's own question."""

from __future__ import annotations

from bus.messages.vlan import GetVlans, VlanTable
from bus.netspec import vlan_labels
from cli.commands.declare import Also

VLANS = Also("namespace", lambda args: GetVlans())


def labels(table: VlanTable | None) -> dict[int, str]:
    """What to print for VLANs that have an alias; the bare numbers do if nobody could say."""
    return {} if table is None else vlan_labels(table.aliases, table.namespace)
