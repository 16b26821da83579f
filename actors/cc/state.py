"""The pure core of the `cc` actor: requests, and what agents and VMs do, become changes of the table and effects."""

from __future__ import annotations

import ipaddress

from actors.cc.decisions import commands, guests, matching, mount_table, reports, tunnel_table
from actors.cc.decisions.guests import ledger_of
from actors.cc.inputs import (
    Archive,
    Archived,
    Began,
    CloseListener,
    CloseTunnels,
    FactsChanged,
    FileArrived,
    Finished,
    Handed,
    HangUp,
    Joined,
    Left,
    Listened,
    Mounted,
    MountLost,
    OpenListener,
    OpenTunnels,
    Reline,
    Remove,
    Removed,
    Survey,
    Surveyed,
    Synced,
    TunnelsOpened,
    Unmounted,
    VmsGone,
    VmsSeen,
)
from actors.cc.table import CcTable, Guest, Ledger, Waiting
from bus.actor.step import Effect, Fail, Input, Received, Recovered, Reply, not_understood
from bus.messages.base import Ack
from bus.messages.cc import (
    ClearCc,
    DeleteCommands,
    DeleteResponses,
    EndCc,
    Listen,
    PostCommand,
    SetFilter,
    SetPrefix,
    SignalCommand,
    Unlisten,
)
from bus.messages.mount import MountGuest, UnmountGuests
from bus.messages.tunnel import CloseTunnel, OpenTunnel

REQUESTS = (
    *(PostCommand, SignalCommand, DeleteCommands, DeleteResponses, ClearCc, EndCc),
    *(SetFilter, SetPrefix, Listen, Unlisten, OpenTunnel, CloseTunnel, MountGuest, UnmountGuests),
)
"""What changes something."""
MAX_PREFIX = 200
MAX_LISTENERS = 100


def step(table: CcTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    match inp:
        case Received():
            return _request(table, inp)
        case VmsSeen():
            return guests.seen(table, inp)
        case VmsGone():
            return guests.gone(table, inp)
        case Joined():
            return reports.joined(table, inp)
        case FactsChanged():
            return reports.facts_changed(table, inp)
        case Synced():
            return reports.synced(table, inp)
        case Left():
            return reports.line_lost(table, inp)
        case Handed():
            return reports.handed(table, inp)
        case Began():
            return reports.began(table, inp)
        case Finished():
            return reports.finished(table, inp)
        case FileArrived():
            return reports.file_arrived(table, inp)
        case Surveyed():
            return commands.surveyed(table, inp)
        case Removed():
            return commands.removed(table, inp)
        case Archived(namespace=namespace):
            if (ledger := table.namespaces.get(namespace)) is not None:
                ledger.archiving_s = 0.0
            return []
        case Listened():
            return _listened(table, inp)
        case TunnelsOpened():
            return tunnel_table.opened(table, inp)
        case Mounted():
            return mount_table.mounted(table, inp)
        case MountLost():
            return mount_table.lost(table, inp)
        case Unmounted():
            return mount_table.unmounted(table, inp)
        case Recovered():
            return _recovered(table)
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")


def _request(table: CcTable, inp: Received) -> list[Effect]:
    match inp.body:
        case PostCommand() as msg:
            return commands.post(table, inp, msg)
        case SignalCommand() as msg:
            return commands.end(table, inp, msg)
        case DeleteCommands() as msg:
            return commands.delete(table, inp, msg)
        case DeleteResponses() as msg:
            return commands.delete_responses(table, inp, msg)
        case ClearCc() as msg:
            return commands.clear(table, inp, msg)
        case SetFilter(filter=wanted):
            sentence = matching.problem(wanted)
            if sentence:
                return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
            ledger_of(table, inp.namespace, inp).filter = wanted
            return [Reply(msg_id=inp.msg_id, body=Ack())]
        case SetPrefix(prefix=prefix):
            if len(prefix) > MAX_PREFIX or not prefix.isprintable():
                sentence = f"a prefix has at most {MAX_PREFIX} characters, all of them printable"
                return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
            ledger_of(table, inp.namespace, inp).prefix = prefix
            return [Reply(msg_id=inp.msg_id, body=Ack())]
        case Listen() as msg:
            return _listen(table, inp, msg)
        case Unlisten(port=port):
            return _unlisten(table, inp, port)
        case OpenTunnel() as msg:
            return tunnel_table.open_(table, inp, msg)
        case CloseTunnel() as msg:
            return tunnel_table.close(table, inp, msg)
        case MountGuest() as msg:
            return mount_table.mount(table, inp, msg)
        case UnmountGuests() as msg:
            return mount_table.unmount(table, inp, msg)
        case EndCc():
            return _end(table, inp)
        case _:
            return [not_understood("cc", inp)]


# ---------------------------------------------------------------- TCP


def _listen(table: CcTable, inp: Received, msg: Listen) -> list[Effect]:
    if not 1 <= msg.port <= 65535:
        sentence = f"{msg.port} is no port: expected 1 to 65535"
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    if not _is_address(msg.address):
        sentence = f"`{msg.address[:80]}` is no IP address of this host"
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    for namespace, ledger in table.namespaces.items():
        if msg.port in ledger.listeners:
            sentence = f"port {msg.port} is listened on already, for namespace {namespace}"
            return [Fail(msg_id=inp.msg_id, code="conflict", message=sentence)]
    if any(waiting.port == msg.port for waiting in table.waiting.values()):
        sentence = f"port {msg.port} is just being opened"
        return [Fail(msg_id=inp.msg_id, code="conflict", message=sentence)]
    if len(ledger_of(table, inp.namespace, inp).listeners) >= MAX_LISTENERS:
        sentence = f"{MAX_LISTENERS} ports are listened on already"
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
    table.waiting[inp.msg_id] = Waiting(namespace=inp.namespace, port=msg.port, address=msg.address)
    return [OpenListener(namespace=inp.namespace, port=msg.port, address=msg.address, msg_id=inp.msg_id)]


def _is_address(text: str) -> bool:
    """Names are not looked up: that takes time in which no agent is served."""
    try:
        return not text or bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _listened(table: CcTable, inp: Listened) -> list[Effect]:
    waiting = table.waiting.pop(inp.msg_id, None)
    if waiting is None:
        return []
    if inp.error:
        return [Fail(msg_id=inp.msg_id, code="conflict", message=inp.error)]
    ledger_of(table, waiting.namespace, inp).listeners[waiting.port] = waiting.address
    return [Reply(msg_id=inp.msg_id, body=Ack())]


def _unlisten(table: CcTable, inp: Received, port: int) -> list[Effect]:
    ledger = table.namespaces.get(inp.namespace)
    if ledger is None or port not in ledger.listeners:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=f"port {port} is not listened on")]
    del ledger.listeners[port]
    return [CloseListener(port=port), Reply(msg_id=inp.msg_id, body=Ack())]


# ---------------------------------------------------------------- ends and beginnings


def _end(table: CcTable, inp: Received) -> list[Effect]:
    """Nothing of a namespace stays but its VMs, if it has any, and the files that it has collected."""
    ledger = table.namespaces.pop(inp.namespace, None)
    effects: list[Effect] = []
    if ledger is not None:
        effects += _close(ledger, inp.namespace)
        staying = [guest for guest in ledger.guests.values() if not guest.flushed]
        if staying:
            fresh = Ledger(name=inp.new_uuid(), guests={guest.vm.uuid: Guest(vm=guest.vm) for guest in staying})
            table.namespaces[inp.namespace] = fresh
    return [*effects, Reply(msg_id=inp.msg_id, body=Ack())]


def _close(ledger: Ledger, namespace: str) -> list[Effect]:
    effects: list[Effect] = [HangUp(namespace=namespace, reason="the namespace has ended")]
    for guest in ledger.guests.values():
        effects += reports.left(guest, "the namespace has ended")
    effects += [CloseListener(port=port) for port in ledger.listeners]
    effects += mount_table.close(ledger, set(ledger.mounts))
    tunnels = tuple(((namespace, uuid), number) for uuid, own in ledger.tunnels.items() for number in own)
    return [*effects, *([CloseTunnels(tunnels=tunnels)] if tunnels else [])]


def _recovered(table: CcTable) -> list[Effect]:
    """All connections are gone with the process before; what users wait for is begun again."""
    effects: list[Effect] = [*mount_table.recovered(table), Reline(vm_ids=tuple(table.vms))]
    for namespace, ledger in table.namespaces.items():
        if ledger.archiving_s:
            effects.insert(0, Archive(namespace=namespace, time_s=ledger.archiving_s))
        for port, address in ledger.listeners.items():
            effects.append(OpenListener(namespace=namespace, port=port, address=address))
        forward = tuple(
            ((namespace, uuid), tunnel)
            for uuid, tunnels in ledger.tunnels.items()
            for tunnel in tunnels.values()
            if not tunnel.reverse
        )
        if forward:
            effects.append(OpenTunnels(tunnels=forward))
    for msg_id, waiting in table.waiting.items():
        if waiting.command is not None:
            effects.append(Survey(msg_id=msg_id, namespace=waiting.namespace, patterns=waiting.command.files))
        elif waiting.port:
            opened = OpenListener(
                namespace=waiting.namespace, port=waiting.port, address=waiting.address, msg_id=msg_id
            )
            effects.append(opened)
        elif waiting.removal is not None:
            ids = None if waiting.everything else waiting.removal
            effects.append(Remove(namespace=waiting.namespace, ids=ids, msg_id=msg_id))
        else:
            effects.append(tunnel_table.again(table, msg_id, waiting))
    return effects
