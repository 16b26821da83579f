"""The step of the network actor: requests wait in a queue, one operation after the other is done in the kernel."""

from __future__ import annotations

from actors.network.batch import next_batch
from actors.network.operations import Audit, AuditDue, Leased, Move, NoLease, Worked
from actors.network.plugs import mirrors, moving, plugging, taps, trunks, unplugging
from actors.network.services import servers
from actors.network.services.server_table import RESULTS
from actors.network.table import Body, Job, NetworkTable, Work
from actors.network.turn import Turn
from bus.actor.step import Answered, AskFailed, Effect, Input, Received, Recovered, not_understood
from bus.messages.network import (
    AddInterfaces,
    ClearMirrors,
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    MirrorTap,
    PlugGuests,
    ShapeInterfaces,
    TrunkBridge,
    UnplugGuests,
)

OUTAGES = ("unreachable", "deadline", "cancelled")
"""Failures of an ask that come when its time is up, so that asking again is no busy loop."""


def step(table: NetworkTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    turn = Turn(table, inp)
    match inp:
        case Received(msg_id=msg_id, namespace=namespace, body=body) if isinstance(body, Body):
            table.queue.append(Job(msg_id=msg_id, namespace=namespace, body=body))
        case Received(body=body) if isinstance(body, servers.REQUESTS):
            return servers.received(table.dnsmasq, inp)
        case Received():
            return [not_understood("network", inp)]
        case Worked():
            _worked(turn, inp)
        case AuditDue():
            table.audit_wanted = not table.is_empty
        case Recovered():
            _recovered(table)
            turn.effects += [*servers.recovered(table.dnsmasq), *taps.leases_again(table)]
        case Leased():
            taps.leased(turn, inp)
        case NoLease():
            taps.no_lease(turn, inp)
        case Answered(tag=tag) | AskFailed(tag=tag) if tag in table.tellings:
            _told(turn, inp, table.tellings.pop(tag))
        case _ if isinstance(inp, RESULTS):
            return servers.took(table.dnsmasq, inp)
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")
    while table.under_way is None and _begin_next(turn):
        pass
    return turn.effects


def _told(turn: Turn, inp: Input, vm_ids: tuple[int, ...]) -> None:
    """`vm` knows what the interfaces of its VMs are now; if it could not be asked, it is told what they are then."""
    if isinstance(inp, AskFailed) and inp.code in OUTAGES:
        turn.tell_vm(vm_ids)


def _recovered(table: NetworkTable) -> None:
    """What was under way is done again, once what it has left is removed."""
    if table.under_way is not None:
        if table.under_way.jobs:
            table.interrupted = table.under_way
        table.under_way = None
    table.audit_wanted = True


def _worked(turn: Turn, outcome: Worked) -> None:
    """Take in what came of an operation; one of before a crash is none of ours any more."""
    work = turn.table.under_way
    if work is None or work.number != outcome.number:
        return
    turn.table.under_way = None
    if work.jobs:
        _finish(turn, work, outcome)
        if isinstance(work.operation, Move) and outcome.errors:
            turn.table.audit_wanted = True  # somebody may have removed the device: it is made again at once
    else:
        _audited(turn, outcome)


def _begin_next(turn: Turn) -> bool:
    """Begin with what is due; returns whether there was anything."""
    table = turn.table
    if table.audit_wanted:
        table.audit_wanted = False
        turn.run(Work(operation=Audit()))
        return True
    if table.interrupted is not None:
        work, table.interrupted = table.interrupted, None
        turn.run(work)
        return True
    if not table.queue:
        return False
    begun = _begin(turn, next_batch(table))
    if begun is not None and begun.operation is None:
        _finish(turn, begun, Worked(number=0))
    elif begun is not None:
        turn.run(begun)
    return True


def _begin(turn: Turn, jobs: list[Job]) -> Work | None:
    """Judge requests, and say what the kernel has to do for them; None if they are answered already."""
    job = jobs[0]
    match job.body:
        case PlugGuests() | AddInterfaces():
            return plugging.begin(turn, jobs)
        case UnplugGuests():
            return unplugging.begin_unplug(turn, jobs)
        case ForgetGuestNics():
            return unplugging.begin_forget(turn, jobs)
        case ConnectInterfaces():
            return moving.begin_connect(turn, job)
        case ShapeInterfaces():
            return moving.begin_shape(turn, job)
        case CreateTap():
            return taps.begin_create(turn, job)
        case DeleteTaps():
            return taps.begin_delete(turn, job)
        case MirrorTap():
            return mirrors.begin_mirror(turn, job)
        case ClearMirrors():
            return mirrors.begin_clear(turn, job)
        case TrunkBridge():
            return trunks.begin(turn, job)
        case EndNetworks():
            return unplugging.begin_end(turn, job)


def _finish(turn: Turn, work: Work, outcome: Worked) -> None:
    """Take what came of it into the table, and answer."""
    match work.jobs[0].body:
        case PlugGuests():
            plugging.finish_plug(turn, work, outcome)
        case AddInterfaces():
            plugging.finish_add(turn, work, outcome)
        case UnplugGuests():
            unplugging.finish_unplug(turn, work, outcome)
        case ForgetGuestNics():
            unplugging.finish_forget(turn, work, outcome)
        case ConnectInterfaces():
            moving.finish_connect(turn, work, outcome)
        case ShapeInterfaces():
            moving.finish_shape(turn, work, outcome)
        case CreateTap():
            taps.finish_create(turn, work, outcome)
        case DeleteTaps():
            taps.finish_delete(turn, work, outcome)
        case MirrorTap():
            mirrors.finish_mirror(turn, work, outcome)
        case ClearMirrors():
            mirrors.finish_clear(turn, work, outcome)
        case TrunkBridge():
            trunks.finish(turn, work, outcome)
        case EndNetworks():
            unplugging.finish_end(turn, work, outcome)


def _audited(turn: Turn, outcome: Worked) -> None:
    """Tell what was not as it should be."""
    for repair in outcome.repairs:
        turn.repaired(repair.tap, repair.what)
    for tap, problem in outcome.errors.items():
        turn.warn("repair_failed", tap, problem)
    if outcome.failed:
        turn.warn("audit_failed", "", outcome.failed)
    for vm_id in outcome.lost:
        if (guest := turn.table.guests.get(vm_id)) is not None:
            unplugging.take_down(turn, guest)
