"""What the actor believes against what the drivers really have."""

from __future__ import annotations

from typing import Literal

from actors.vm import transitions, wires
from actors.vm.kinds import DRIVEN
from actors.vm.table import Audit, Phase, VmRecord
from actors.vm.turn import Turn
from bus.messages.guest import GuestExit, GuestList, GuestStatus
from bus.messages.vm import VmState

STATES: dict[Literal["building", "running", "paused", "exited"], VmState] = {
    "building": VmState.BUILDING,
    "running": VmState.RUNNING,
    "paused": VmState.PAUSED,
}
"""State of a living guest at its driver to that of its VM."""
OUTAGES = ("unreachable", "deadline", "cancelled")
"""Failures that come only when the time for the question is up, so that asking again is no busy loop."""


def recovered(turn: Turn) -> None:
    """After a restart: finish what was begun, and ask every driver what it has."""
    for vm in turn.table.vms.values():
        turn.resume(vm)
        if vm.phase is Phase.IDLE:
            wires.release(turn, vm)
    for kind in DRIVEN:
        turn.audit(kind)


def audit_failed(turn: Turn, audit: Audit, code: str) -> None:
    """The question went unanswered: it stays open until the driver is there again."""
    if code in OUTAGES:
        turn.audit(audit.kind)


def audited(turn: Turn, audit: Audit, answer: GuestList) -> None:
    """Repair the difference for VMs that have not changed since the question; for those that have, ask again."""
    guests = {guest.vm_id: guest for guest in answer.guests}
    for vm_id, revision in audit.revisions.items():
        vm = turn.table.vms.get(vm_id)
        if vm is None:
            continue
        if vm.revision == revision and vm.phase is Phase.IDLE:
            _repair(turn, vm, guests.get(vm_id))
        elif vm.live:
            turn.audit(audit.kind)
    strangers = sorted(guests.keys() - turn.table.vms.keys())
    if strangers:
        turn.table.next_id = max(turn.table.next_id, strangers[-1] + 1)
        turn.strangers(audit.kind, strangers)


def _repair(turn: Turn, vm: VmRecord, guest: GuestStatus | None) -> None:
    alive = guest is not None and guest.state in STATES
    if not vm.live:
        vm.doubtful = alive
    elif guest is None or not alive:
        lost = GuestExit(vm_id=vm.vm_id, exit=transitions.UNKNOWN_EXIT, clean=False)
        transitions.exited(turn, vm, (guest and guest.exit) or lost)
        wires.release(turn, vm)
    else:
        vm.pid = guest.pid
        _match_state(turn, vm, STATES[guest.state])


def _match_state(turn: Turn, vm: VmRecord, state: VmState) -> None:
    if state is vm.state:
        return
    match state:
        case VmState.RUNNING:
            transitions.runs(turn, vm)
        case VmState.PAUSED:
            transitions.paused(turn, vm)
        case _:
            transitions.built(turn, vm)
