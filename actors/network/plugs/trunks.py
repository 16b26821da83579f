"""Interfaces of the host that are plugged into bridges, where they carry all VLANs."""

from __future__ import annotations

from actors.network.names import bridge_problem, name_problem, new_bridges, shown
from actors.network.operations import Trunk, Untrunk, Worked
from actors.network.table import Job, NetworkTable, Work
from actors.network.turn import Turn
from bus.messages.base import Ack
from bus.messages.network import TrunkBridge


def begin(turn: Turn, job: Job) -> Work | None:
    """Have an interface plugged in, or taken out."""
    body, table = _body(job), turn.table
    if body.remove:
        if table.trunks.get(body.interface) != body.bridge:
            turn.fail(job, "not_found", f"unknown trunk: {shown(body.interface)}")
            return None
        return Work(jobs=[job], operation=Untrunk(bridge=body.bridge, interface=body.interface))
    if refusal := _refusal(table, body):
        turn.fail(job, *refusal)
        return None
    operation = Trunk(
        bridge=body.bridge,
        interface=body.interface,
        force=body.force,
        new_bridges=new_bridges(table, [body.bridge]),
    )
    return Work(jobs=[job], operation=operation)


def _refusal(table: NetworkTable, body: TrunkBridge) -> tuple[str, str] | None:
    """Code and sentence."""
    name = body.interface
    if problem := bridge_problem(table, body.bridge):
        return "invalid", problem
    if name == "lo":
        return "invalid", "lo is the loopback interface, it leads nowhere"
    if problem := name_problem(name, "interface"):
        return "invalid", problem
    if name == body.bridge:
        return "invalid", f"{name} cannot be a bridge and be plugged into it"
    if name in table.taps:
        return "conflict", f"{name} is a host tap: it is plugged into VLAN {table.taps[name].segment.vlan} already"
    if (bridge := table.trunks.get(name)) is not None:
        text = f"bridge already trunking to {name}" if bridge == body.bridge else f"{name} is a trunk of {bridge}"
        return "conflict", text
    return None


def finish(turn: Turn, work: Work, outcome: Worked) -> None:
    """Note it."""
    (job,) = work.jobs
    if outcome.failed:
        turn.fail(job, outcome.code, outcome.failed)
        return
    body = _body(job)
    if body.remove:
        del turn.table.trunks[body.interface]
    else:
        turn.table.trunks[body.interface] = body.bridge
    turn.reply(job, Ack())


def _body(job: Job) -> TrunkBridge:
    assert isinstance(job.body, TrunkBridge)  # noqa: S101 - for the type checker
    return job.body
