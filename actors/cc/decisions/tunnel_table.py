"""Which tunnels there are. Pure.

A tunnel belongs to a guest and lasts until it is closed or the VM is flushed; connections come and go with the line.
"""

from __future__ import annotations

from actors.cc.decisions import matching
from actors.cc.decisions.guests import ledger_of
from actors.cc.inputs import CloseTunnels, OpenTunnels, TunnelsOpened
from actors.cc.table import CcTable, Guest, Key, Ledger, Tunnel, Waiting
from bus.actor.step import Effect, Fail, Received, Reply
from bus.messages.base import Ack
from bus.messages.tunnel import CloseTunnel, OpenTunnel

MAX_TUNNELS = 100
"""Of one guest."""


def find(ledger: Ledger | None, target: str) -> Guest | None:
    """A guest by the name of its VM or by UUID."""
    if ledger is None:
        return None
    there = [guest for guest in ledger.guests.values() if not guest.flushed]
    named = [guest for guest in there if guest.vm.name == target]
    return next(iter(named), None) or next((guest for guest in there if guest.vm.uuid == target.lower()), None)


def unknown(target: str) -> str:
    """The sentence about a guest that is not there."""
    return f"no such client: {target[:200]}"


def open_(table: CcTable, inp: Received, msg: OpenTunnel) -> list[Effect]:
    """Tunnels are listed before they are opened, and taken off again if one of them cannot be."""
    for what, port in (("source", msg.source), ("destination", msg.port)):
        if not 1 <= port <= 65535:
            sentence = f"{port} is no {what} port: expected 1 to 65535"
            return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    if not _is_host(msg.host):
        sentence = f"to which host? `{msg.host[:80]}` is neither a name nor an address"
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    ledger = ledger_of(table, inp.namespace, inp)
    chosen = _chosen(ledger, msg)
    if isinstance(chosen, Fail):
        return [Fail(msg_id=inp.msg_id, code=chosen.code, message=chosen.message)]
    made: list[tuple[Key, Tunnel]] = []
    for guest in chosen:
        own = ledger.tunnels.setdefault(guest.vm.uuid, {})
        number, ledger.next_tunnel = ledger.next_tunnel, ledger.next_tunnel + 1
        own[number] = Tunnel(id=number, source=msg.source, host=msg.host, port=msg.port, reverse=msg.reverse)
        made.append((guest.vm.key, own[number]))
    table.waiting[inp.msg_id] = Waiting(
        namespace=inp.namespace, tunnels=tuple((key[1], tunnel.id) for key, tunnel in made)
    )
    return [OpenTunnels(tunnels=tuple(made), msg_id=inp.msg_id)]


def _is_host(text: str) -> bool:
    """Whether it can be looked up at all, here or in a guest (RFC 1035, 2.3.4)."""
    try:
        return text.isprintable() and " " not in text and 0 < len(text) <= 255 and bool(text.encode("idna"))
    except UnicodeError:
        return False


def _chosen(ledger: Ledger, msg: OpenTunnel) -> list[Guest] | Fail:
    def refusal(code: str, message: str) -> Fail:
        return Fail(msg_id="", code=code, message=message)

    if msg.target:
        guest = find(ledger, msg.target)
        if guest is None:
            return refusal("not_found", unknown(msg.target))
        chosen = [guest] if guest.connected else []
    elif not msg.reverse:
        return refusal("invalid", "into which guest? a tunnel needs the name or the UUID of a VM")
    else:
        chosen = [g for g in ledger.guests.values() if g.connected and matching.matches(ledger.filter, g)]
    if not chosen:
        who = f"the agent of {msg.target[:200]} is not connected" if msg.target else "no connected guest matches"
        return refusal("unavailable", who)
    for guest in chosen:
        own = ledger.tunnels.get(guest.vm.uuid, {})
        if len(own) >= MAX_TUNNELS:
            return refusal("unavailable", f"{guest.vm.name} has {MAX_TUNNELS} tunnels already")
        if msg.reverse and any(tunnel.reverse and tunnel.source == msg.source for tunnel in own.values()):
            return refusal("conflict", f"{guest.vm.name} has a tunnel at port {msg.source} already")
    return chosen


def opened(table: CcTable, inp: TunnelsOpened) -> list[Effect]:
    """All of them, or none."""
    waiting = table.waiting.pop(inp.msg_id, None)
    if waiting is None:
        return []
    if not inp.error:
        return [Reply(msg_id=inp.msg_id, body=Ack())]
    ledger = ledger_of(table, waiting.namespace, inp)
    for uuid, number in waiting.tunnels:
        ledger.tunnels.get(uuid, {}).pop(number, None)
    keys = tuple(((waiting.namespace, uuid), number) for uuid, number in waiting.tunnels)
    return [CloseTunnels(tunnels=keys), Fail(msg_id=inp.msg_id, code="conflict", message=inp.error)]


def again(table: CcTable, msg_id: str, waiting: Waiting) -> Effect:
    """After a crash."""
    ledger = table.namespaces.get(waiting.namespace)
    found = [
        ((waiting.namespace, uuid), ledger.tunnels[uuid][number])
        for uuid, number in waiting.tunnels
        if ledger is not None and number in ledger.tunnels.get(uuid, {})
    ]
    return OpenTunnels(tunnels=tuple(found), msg_id=msg_id)


def close(table: CcTable, inp: Received, msg: CloseTunnel) -> list[Effect]:
    """One tunnel."""
    ledger = table.namespaces.get(inp.namespace)
    guest = find(ledger, msg.target)
    if ledger is None or guest is None:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=unknown(msg.target))]
    if ledger.tunnels.get(guest.vm.uuid, {}).pop(msg.id, None) is None:
        sentence = f"{guest.vm.name} has no tunnel {msg.id}"
        return [Fail(msg_id=inp.msg_id, code="not_found", message=sentence)]
    return [CloseTunnels(tunnels=((guest.vm.key, msg.id),)), Reply(msg_id=inp.msg_id, body=Ack())]
