"""The end of a namespace: its pipelines and pipes end and its VMs are killed and flushed on every host, command and
control of them ends, its host taps go, its VLANs become free, then nobody remembers it.

Every step may be repeated, so that an end that went wrong half-way is brought about by asking for it once more.
"""

from __future__ import annotations

from actors.namespace.table import Destruction, Namespace, NamespaceTable
from actors.namespace.vlan_requests import numbers_of
from actors.namespace.vlans import clear, knows
from bus.actor.step import Ask, Effect, Fail, Publish, Received, Reply
from bus.language.ranges import fold
from bus.messages.base import DEFAULT_NAMESPACE, WILDCARD, Ack, Message, Request
from bus.messages.cc import EndCc
from bus.messages.namespace import DestroyReport, NamespaceDestroyed
from bus.messages.network import Bridges, EndNetworks, GetBridges
from bus.messages.pipe import DeletePipes
from bus.messages.pipeline import ClearPipelines
from bus.messages.vm import FlushVms, GetVmNames, KillVms, VmNames, VmReport
from bus.topics import namespace_topic

TAG = "destroy/"
TIMEOUT_S = 500.0
"""For each request to a host, which may have thousands of VMs to end."""
MAX_ROUNDS = 3
"""How often VMs are ended that others start or launch meanwhile."""
SHOWN_NAMES = 200
"""Characters of the names of VMs that could not be ended."""
STILL_LAUNCHING = "scheduler still running for namespace"
REQUESTS: dict[str, tuple[str, Request[Ack] | Request[VmReport] | Request[VmNames] | Request[Bridges]]] = {
    "plumb": ("plumber", ClearPipelines()),
    "pipe": ("plumber", DeletePipes()),
    "kill": ("vm", KillVms(target=WILDCARD)),
    "flush": ("vm", FlushVms()),
    "look": ("vm", GetVmNames()),
    "cc": ("cc", EndCc()),
    "network": ("network", EndNetworks()),
    "vlans": ("network", GetBridges()),
}
"""Which actor of each host is asked for what, in this order."""
AFTER = {"plumb": "pipe", "pipe": "kill", "cc": "network", "network": "vlans"}
"""What comes next, whether or not it worked."""
WITHOUT_VMS = ("kill", "flush", "look")
"""If one of these cannot be asked, VMs may be left; all else of the namespace ends even so."""


def refusal(table: NamespaceTable, name: str) -> str:
    """Why nothing may be changed in a namespace now; empty if it may."""
    going = any(destruction.namespace == name for destruction in table.destructions.values())
    return f"namespace {name} is being destroyed" if going else ""


def destroy(table: NamespaceTable, inp: Received) -> list[Effect]:
    """Begin, or wait with whoever was first. A namespace that nobody here knows may have VMs all the same."""
    name = inp.namespace
    for destruction in table.destructions.values():
        if destruction.namespace == name:
            destruction.also.append(inp.msg_id)
            return []
    if any(launch.namespace == name for launch in table.launches.values()):
        return [Fail(msg_id=inp.msg_id, code="conflict", message=STILL_LAUNCHING)]
    hosts = table.get(name).hosts
    table.destructions[inp.msg_id] = Destruction(namespace=name, open=len(hosts))
    if not hosts:
        return _finish(table, inp.msg_id)
    return [_ask(table, inp.msg_id, "plumb", 0, host) for host in hosts]


def _ask(table: NamespaceTable, msg_id: str, what: str, turn: int, host: str) -> Ask:
    tag = f"{TAG}{what}/{turn}/{host}/{msg_id}"
    table.asks[tag] = msg_id
    actor, request = REQUESTS[what]
    return Ask(
        tag=tag,
        to=f"{actor}@{host}",
        body=request,
        timeout_s=TIMEOUT_S,
        namespace=table.destructions[msg_id].namespace,
        cause=msg_id,
    )


def answered(table: NamespaceTable, tag: str, msg_id: str, body: object) -> list[Effect]:
    """A host has done its part; on to the next."""
    what, turn, host = _parts(tag)
    destruction = table.destructions[msg_id]
    match what, body:
        case "plumb" | "pipe" | "cc" | "network", Ack():
            return [_ask(table, msg_id, AFTER[what], turn, host)]
        case "kill", VmReport(errors=errors):
            destruction.errors.extend(errors)
            return [_ask(table, msg_id, "flush", turn, host)]
        case "flush", VmReport(results=results, errors=errors):
            destruction.errors.extend(errors)
            destruction.found |= bool(results)
            return [_ask(table, msg_id, "look", turn, host)]
        case "look", VmNames(uuids=left) if left and not destruction.errors and turn + 1 < MAX_ROUNDS:
            return [_ask(table, msg_id, "kill", turn + 1, host)]
        case "look", VmNames(uuids=left) if left:
            names = fold(left)
            names = names if len(names) <= SHOWN_NAMES else f"{names[:SHOWN_NAMES]}..."
            destruction.errors.append(f"still there on {host}: {names}")
            return [_ask(table, msg_id, "cc", turn, host)]
        case "look", VmNames():
            return [_ask(table, msg_id, "cc", turn, host)]
        case "vlans", Bridges():
            destruction.in_use.extend(numbers_of(body))
            return _host_through(table, msg_id)
        case _:
            raise TypeError(f"no use for an answer of type {type(body).__name__} to {what}")


def failed(table: NamespaceTable, tag: str, msg_id: str, message: str) -> list[Effect]:
    """An actor cannot be asked: the rest of its host ends even so, and the other hosts go on."""
    what, turn, host = _parts(tag)
    if what == "vlans":
        table.destructions[msg_id].all_in_use = True
        return _host_through(table, msg_id)
    table.destructions[msg_id].errors.append(f"{host}: {message}")
    return [_ask(table, msg_id, "cc" if what in WITHOUT_VMS else AFTER[what], turn, host)]


def _parts(tag: str) -> tuple[str, int, str]:
    what, turn, host, _ = tag.removeprefix(TAG).split("/", 3)
    return what, int(turn), host


def _host_through(table: NamespaceTable, msg_id: str) -> list[Effect]:
    destruction = table.destructions[msg_id]
    destruction.open -= 1
    return _finish(table, msg_id) if destruction.open == 0 else []


def _finish(table: NamespaceTable, msg_id: str) -> list[Effect]:
    """Forget the namespace. With VMs left in it, it stays in the list, so that its end can be asked for again."""
    destruction = table.destructions.pop(msg_id)
    name = destruction.namespace
    was_there = name in table.namespaces or destruction.found
    asked = (msg_id, *destruction.also)
    if not was_there and not knows(table.vlans, name) and not destruction.errors:
        return [Fail(msg_id=each, code="not_found", message=f"unknown namespace: {name}") for each in asked]
    hosts = table.namespaces.pop(name, table.get(name)).hosts
    effects: list[Effect] = [*_give_up_clones(table, name)]
    if destruction.errors:
        table.namespaces[name] = Namespace(hosts=hosts)
    else:
        # Only the hosts of this namespace were asked, so what was in use elsewhere still counts as such.
        in_use = None if destruction.all_in_use else {*destruction.in_use, *table.vlans.worn}
        table.vlans = clear(table.vlans, name, "", in_use)
        if was_there:  # others may only have used its VLANs
            event = NamespaceDestroyed(name=name)
            topic = namespace_topic(name, "destroyed")
            effects.append(Publish(topic=topic, event=event, namespace=name, cause=msg_id))
    if name == DEFAULT_NAMESPACE:
        table.make(name)
    report: Message = DestroyReport(errors=tuple(destruction.errors))
    return [*effects, *(Reply(msg_id=each, body=report) for each in asked)]


def _give_up_clones(table: NamespaceTable, name: str) -> list[Effect]:
    """A copy of a VM's configuration that comes later must not bring the namespace back."""
    given_up = [msg_id for msg_id, clone in table.clones.items() if clone.namespace == name]
    for msg_id in given_up:
        del table.clones[msg_id]
    sentence = f"namespace {name} was destroyed meanwhile"
    return [Fail(msg_id=msg_id, code="conflict", message=sentence) for msg_id in given_up]
