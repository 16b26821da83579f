"""Requests about VLANs, put to the step of the `namespace` actor."""

from __future__ import annotations

from actors.namespace.state import step
from actors.namespace.table import NamespaceTable
from bus.actor.step import Ask, Effect, Fail
from bus.messages.base import Ack, Message, Request
from bus.messages.network import BridgeInfo, Bridges, GetBridges
from bus.messages.vlan import (
    ClearVlans,
    ResolveVlans,
    Vlans,
)
from tests.unit.actors.steps import answer, only, received, replies

NS = "minimega"


def do(table: NamespaceTable, body: Request[Message], namespace: str = NS) -> list[Effect]:
    """One request."""
    return step(table, received(body, "m1", namespace=namespace))


def ok(table: NamespaceTable, body: Request[Message], namespace: str = NS) -> list[Effect]:
    """A request that must succeed at once."""
    effects = do(table, body, namespace)
    assert replies(effects) == {"m1": Ack()}
    return effects


def refused(table: NamespaceTable, body: Request[Message], namespace: str = NS) -> tuple[str, str]:
    """A request that must fail, and change no VLANs."""
    before = table.vlans
    reply = replies(do(table, body, namespace))["m1"]
    assert isinstance(reply, Fail), reply
    assert table.vlans == before
    return reply.code, reply.message


def numbers(table: NamespaceTable, *texts: str, namespace: str = NS) -> list[int]:
    """What these VLANs are."""
    reply = replies(do(table, ResolveVlans(texts=texts), namespace))["m1"]
    assert isinstance(reply, Vlans), reply
    return [vlan.number for vlan in reply.vlans]


def clear(table: NamespaceTable, prefix: str = "", namespace: str = NS, in_use: tuple[int, ...] = ()) -> None:
    """Clear VLANs while these numbers are in use."""
    effects = do(table, ClearVlans(prefix=prefix), namespace)
    asks = only(Ask, effects)
    if asks:
        assert (asks[0].to, asks[0].body) == ("network@h1", GetBridges())
        effects = step(table, answer(asks[0], Bridges(bridges=(BridgeInfo(name="mega_bridge", vlans=in_use),))))
    assert replies(effects) == {"m1": Ack()}
