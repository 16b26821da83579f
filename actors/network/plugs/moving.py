"""Interfaces that are plugged in elsewhere, and what their traffic goes through."""

from __future__ import annotations

import math

from actors.network.names import bridge_problem, new_bridges, vlan_problem
from actors.network.operations import Move, Shape, Worked
from actors.network.plugs.mirrors import drop_torn, torn
from actors.network.plugs.occupied import Occupied
from actors.network.table import Guest, Job, NetworkTable, Nic, Work, failure
from actors.network.turn import Turn
from bus.language.shaping_text import rate_text
from bus.messages.network import (
    DEFAULT_BRIDGE,
    MAX_DELAY_US,
    MAX_JITTER_US,
    MAX_RATE_BPS,
    ConnectInterfaces,
    GuestNic,
    InterfaceReport,
    ShapeInterfaces,
    Shaping,
)
from bus.messages.vlan import DISCONNECTED
from shims.network.base import Segment

ALL = -1


def begin_connect(turn: Turn, job: Job) -> Work | None:
    """Have the devices of living guests moved; what is refused goes no further."""
    body = _connect(job)
    table = turn.table
    if body.index < 0:
        turn.fail(job, "invalid", f"the first interface is number 0, there is no {body.index}")
        return None
    if problem := _place_problem(table, body):
        turn.fail(job, "invalid", problem)
        return None
    work = Work(jobs=[job])
    occupied = Occupied(table)
    moves: dict[str, Segment | None] = {}
    for one in body.vms:
        guest, nic, error = _find(table, one, body.index)
        if nic is not None and guest is not None and not error:
            target = _target(nic, body)
            moved = Nic(tap=nic.tap, bridge=target.bridge if target else "", vlan=body.vlan, mac=nic.mac)
            if nic.is_up and not (error := occupied.claim(guest, [moved])) and target != nic.segment:
                moves[nic.tap] = target
        if error:
            work.errors[str(one.vm_id)] = error
    if moves:
        bridges = {segment.bridge for segment in moves.values() if segment is not None}
        after = {tap: segment.bridge if segment is not None else "" for tap, segment in moves.items()}
        work.operation = Move(
            taps=tuple(moves),
            segments=tuple(moves.values()),
            new_bridges=new_bridges(table, bridges),
            mirrors=tuple(one.destination for one in torn(table, after)),
        )
    return work


def finish_connect(turn: Turn, work: Work, outcome: Worked) -> None:
    """Note where the interfaces are now; all else that is known of them stays."""
    (job,) = work.jobs
    body = _connect(job)
    changed: list[int] = []
    for one in body.vms:
        guest, nic, _ = _find(turn.table, one, body.index)
        if guest is None or nic is None or str(one.vm_id) in work.errors:
            continue
        target, was = _target(nic, body), nic.segment
        if nic.is_up and target != was and (error := failure(outcome, nic.tap)):
            work.errors[str(one.vm_id)] = error
            continue
        nic.bridge, nic.vlan = target or ("", DISCONNECTED)
        nic.alias = body.alias
        changed.append(one.vm_id)
        if nic.is_up and target != was:
            turn.nic_changed(guest, body.index, cause=job.msg_id)
    warnings = drop_torn(turn)
    turn.tell_vm(changed, cause=job.msg_id)
    turn.reply(job, InterfaceReport(errors=_sentences(body.vms, work.errors), warnings=warnings))


def begin_shape(turn: Turn, job: Job) -> Work | None:
    """Have the traffic of living guests shaped."""
    body = _shape(job)
    if problem := _shaping_problem(body.shaping) or ("" if body.index >= ALL else _no_index(body.index)):
        turn.fail(job, "invalid", problem)
        return None
    work = Work(jobs=[job])
    shapings: dict[str, Shaping] = {}
    for one in body.vms:
        nics = _chosen(turn.table, one, body.index)
        if nics is None:
            work.errors[str(one.vm_id)] = _no_index(body.index)
            continue
        for nic in nics:
            wanted = shaped(nic.shaping, body)
            if nic.is_up and wanted != nic.shaping:
                shapings[nic.tap] = wanted
    if shapings:
        work.operation = Shape(shapings=shapings)
    return work


def finish_shape(turn: Turn, work: Work, outcome: Worked) -> None:
    """Note what is in force now."""
    (job,) = work.jobs
    body = _shape(job)
    warnings: dict[str, None] = {}
    for one in body.vms:
        for nic in _chosen(turn.table, one, body.index) or ():
            wanted = shaped(nic.shaping, body)
            if nic.is_up and wanted != nic.shaping and (error := failure(outcome, nic.tap)):
                work.errors[str(one.vm_id)] = error
                continue
            nic.shaping = wanted
            warnings |= dict.fromkeys(outcome.warnings.get(nic.tap, ()))
    turn.reply(job, InterfaceReport(errors=_sentences(body.vms, work.errors), warnings=tuple(warnings)))


def shaped(present: Shaping, change: ShapeInterfaces) -> Shaping:
    """The constraints after a change."""
    kept, none = Shaping() if change.clear else present, Shaping()
    fields = {}
    for name in Shaping.__struct_fields__:
        what = "rate_bps" if name == "rate_text" else name
        source = change.shaping if getattr(change.shaping, what) else none if what in change.without else kept
        fields[name] = getattr(source, name)
    return Shaping(**fields)


def _shaping_problem(shaping: Shaping) -> str:
    for name, percent in (("loss", shaping.loss_percent), ("corruption", shaping.corrupt_percent)):
        if not (math.isfinite(percent) and 0 <= percent <= 100):
            return f"{name} is from 0 to 100 percent, not {percent:g}"
    times = (("delay", shaping.delay_us, MAX_DELAY_US), ("jitter", shaping.jitter_us, MAX_JITTER_US))
    for name, time_us, most_us in times:
        if not 0 <= time_us <= most_us:
            return f"a {name} is from 0 to {most_us // 1_000_000} seconds"
    if not 0 <= shaping.rate_bps <= MAX_RATE_BPS:
        return f"a rate is at most {rate_text(MAX_RATE_BPS)}"
    return "" if len(shaping.rate_text) <= 32 else "the text of the rate has more than 32 characters"


def _no_index(index: int) -> str:
    return f"invalid tap index specified: {index}"


def _chosen(table: NetworkTable, one: GuestNic, index: int) -> list[Nic] | None:
    """The interfaces of a guest that an index means; None if there is none."""
    guest = table.guests.get(one.vm_id)
    nics = guest.nics if guest is not None else []
    if index == ALL:
        return nics
    return [nics[index]] if index < len(nics) else None


def _find(table: NetworkTable, one: GuestNic, index: int) -> tuple[Guest | None, Nic | None, str]:
    guest = table.guests.get(one.vm_id)
    count = len(guest.nics) if guest is not None else 0
    if guest is None or index >= count:
        return None, None, f"no network {index}, VM only has {count} network{'' if count == 1 else 's'}"
    return guest, guest.nics[index], ""


def _place_problem(table: NetworkTable, body: ConnectInterfaces) -> str:
    if body.vlan == DISCONNECTED:
        return ""
    return vlan_problem(body.vlan) or (bridge_problem(table, body.bridge) if body.bridge else "")


def _target(nic: Nic, body: ConnectInterfaces) -> Segment | None:
    if body.vlan == DISCONNECTED:
        return None
    return Segment(body.bridge or nic.bridge or DEFAULT_BRIDGE, body.vlan)


def _sentences(vms: tuple[GuestNic, ...], errors: dict[str, str]) -> tuple[str, ...]:
    """Errors in the order of the VMs, with their names if there are several."""
    found = ((one, errors.get(str(one.vm_id), "")) for one in vms)
    return tuple(f"{one.name}: {error}" if len(vms) > 1 else error for one, error in found if error)


def _connect(job: Job) -> ConnectInterfaces:
    assert isinstance(job.body, ConnectInterfaces)  # noqa: S101 - for the type checker
    return job.body


def _shape(job: Job) -> ShapeInterfaces:
    assert isinstance(job.body, ShapeInterfaces)  # noqa: S101 - for the type checker
    return job.body
