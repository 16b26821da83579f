"""Requests about VLANs, and the end of those of a namespace.

Before a number can be forgotten, the actors `network` of all hosts are asked which numbers are in use there: such a
number is not given again as long as there are others.
"""

from __future__ import annotations

import msgspec

from actors.namespace.table import Clearing, NamespaceTable
from actors.namespace.vlans import (
    VlanBook,
    VlanError,
    add,
    blacklist,
    check_prefix,
    clear,
    doomed,
    file_text,
    give_back,
    reserve,
    resolve,
)
from bus.actor.step import Ask, Effect, Fail, Received, Reply
from bus.messages.base import WILDCARD, Ack
from bus.messages.network import Bridges, GetBridges, Netspec
from bus.messages.vlan import AddVlan, BlacklistVlan, ClearVlans, ResolveVlans, ReturnVlans, SetVlanRange, Vlan, Vlans
from bus.messages.vm import VmConfig

TAG = "vlans/"
TIMEOUT_S = 10.0
"""For a host to say which VLANs are in use; one that cannot is taken to use all of them."""


class WriteVlans(Effect, frozen=True, kw_only=True):
    """Bring `<base>/vlans` up to date, which other programs read."""

    text: str


def closed(table: NamespaceTable) -> frozenset[str]:
    """Namespaces that are being destroyed."""
    return frozenset(destruction.namespace for destruction in table.destructions.values())


def written(before: VlanBook, after: VlanBook) -> list[Effect]:
    """The file that lists aliases, if they have changed."""
    return [] if before.aliases is after.aliases else [WriteVlans(text=file_text(after))]


def look_up(table: NamespaceTable, texts: tuple[str, ...], namespace: str) -> tuple[VlanBook, tuple[Vlan, ...]]:
    """VLANs for texts, and the book to be kept once nothing else can fail; raises VlanError."""
    return resolve(table.vlans, texts, namespace, closed(table))


def renewed(table: NamespaceTable, config: VmConfig, namespace: str) -> VmConfig:
    """A configuration whose aliases stand for the numbers that they have now; raises VlanError."""
    aliases = tuple(spec.alias for spec in config.networks if spec.alias)
    if not aliases:
        return config
    table.vlans, vlans = look_up(table, aliases, namespace)
    numbers = {vlan.alias: vlan.number for vlan in vlans}
    return msgspec.structs.replace(config, networks=tuple(_moved(spec, numbers) for spec in config.networks))


def _moved(spec: Netspec, numbers: dict[str, int]) -> Netspec:
    return msgspec.structs.replace(spec, vlan=numbers.get(spec.alias, spec.vlan))


def received(
    table: NamespaceTable,
    inp: Received,
    msg: ResolveVlans | ReturnVlans | AddVlan | SetVlanRange | BlacklistVlan | ClearVlans,
) -> list[Effect]:
    """A request about VLANs; nothing is changed if it fails."""
    try:
        match msg:
            case ResolveVlans(texts=texts):
                table.vlans, vlans = look_up(table, texts, inp.namespace)
                # Whoever asks is about to plug something in: where that is not listed, nobody would end it.
                table.make(inp.namespace)
                return [Reply(msg_id=inp.msg_id, body=Vlans(vlans=vlans))]
            case AddVlan(alias=alias, number=number):
                table.vlans = add(table.vlans, inp.namespace, alias, number, closed(table))
                table.make(inp.namespace)
            case SetVlanRange(minimum=minimum, maximum=maximum):
                table.vlans = reserve(table.vlans, inp.namespace, minimum, maximum)
                table.make(inp.namespace)
            case BlacklistVlan(number=number):
                table.vlans = blacklist(table.vlans, number)
            case ReturnVlans(aliases=aliases, numbers=numbers):
                table.vlans = give_back(table.vlans, aliases, numbers)
            case ClearVlans(prefix=prefix):
                check_prefix(prefix)
                return _begin(table, inp, prefix)
    except VlanError as error:
        return [Fail(msg_id=inp.msg_id, code=error.code, message=str(error))]
    return [Reply(msg_id=inp.msg_id, body=Ack())]


def _begin(table: NamespaceTable, inp: Received, prefix: str) -> list[Effect]:
    """Ask what is in use, unless no number would become free."""
    hosts = sorted({host for namespace in table.namespaces.values() for host in namespace.hosts})
    vlans = table.vlans
    frees = doomed(vlans, inp.namespace, prefix) or vlans.worn or (prefix == WILDCARD and vlans.blacklist)
    table.clearings[inp.msg_id] = Clearing(namespace=inp.namespace, prefix=prefix, open=len(hosts))
    if not frees or not hosts:
        return _finish(table, inp.msg_id)
    effects: list[Effect] = []
    for host in hosts:
        tag = f"{TAG}{host}/{inp.msg_id}"
        table.asks[tag] = inp.msg_id
        ask = GetBridges()
        effects.append(Ask(tag=tag, to=f"network@{host}", body=ask, timeout_s=TIMEOUT_S, cause=inp.msg_id))
    return effects


def answered(table: NamespaceTable, msg_id: str, body: object) -> list[Effect]:
    """A host has said what is in use there."""
    if not isinstance(body, Bridges):
        raise TypeError(f"no use for an answer of type {type(body).__name__} to a question about bridges")
    table.clearings[msg_id].in_use.extend(numbers_of(body))
    return _host_through(table, msg_id)


def failed(table: NamespaceTable, msg_id: str) -> list[Effect]:
    """A host cannot say it."""
    table.clearings[msg_id].all_in_use = True
    return _host_through(table, msg_id)


def numbers_of(bridges: Bridges) -> list[int]:
    """The VLANs that are in use on a host, or will be again."""
    return sorted({*bridges.kept, *(number for bridge in bridges.bridges for number in bridge.vlans)})


def _host_through(table: NamespaceTable, msg_id: str) -> list[Effect]:
    clearing = table.clearings[msg_id]
    clearing.open -= 1
    return _finish(table, msg_id) if clearing.open <= 0 else []


def _finish(table: NamespaceTable, msg_id: str) -> list[Effect]:
    clearing = table.clearings.pop(msg_id)
    in_use = None if clearing.all_in_use else clearing.in_use
    table.vlans = clear(table.vlans, clearing.namespace, clearing.prefix, in_use)
    return [Reply(msg_id=msg_id, body=Ack())]
