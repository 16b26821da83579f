"""Interfaces of guests that have ended, or are flushed; and the end of all that a namespace has."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from actors.network.operations import Remove, Worked
from actors.network.services.servers import end_on
from actors.network.table import EndLease, Guest, Job, NetworkTable, Tap, Work, failure, mirrors_of
from actors.network.turn import Turn
from bus.messages.base import Ack
from bus.messages.network import ForgetGuestNics, Plugged, PlugReport, UnplugGuests


def begin_unplug(turn: Turn, jobs: list[Job]) -> Work:
    """Have the devices of guests removed; their records stay."""
    living = [guest for guest in _asked(turn.table, jobs) if guest.pid]
    return Work(jobs=jobs, operation=_removal(turn.table, _taps(living)))


def finish_unplug(turn: Turn, work: Work, outcome: Worked) -> None:
    """Answer; a guest whose devices stay is as before, so that this can be asked again."""
    errors = {guest.vm_id: _unplug(turn, guest, work, outcome) for guest in _asked(turn.table, work.jobs)}
    for job in work.jobs:
        vm_ids = dict.fromkeys(job.body.vm_ids) if isinstance(job.body, UnplugGuests) else ()
        guests = tuple(Plugged(vm_id=vm_id, error=errors.get(vm_id, "")) for vm_id in vm_ids)
        turn.reply(job, PlugReport(guests=guests))


def _unplug(turn: Turn, guest: Guest, work: Work, outcome: Worked) -> str:
    if not guest.pid:
        return ""
    error = next((text for nic in guest.nics if (text := failure(outcome, nic.tap))), "")
    if not error:
        take_down(turn, guest, cause=work.jobs[0].msg_id)
    return error


def take_down(turn: Turn, guest: Guest, *, cause: str = "") -> None:
    """Its devices are gone."""
    guest.pid = guest.ticks = 0
    for index, nic in enumerate(guest.nics):
        was_in = nic.is_up and nic.segment is not None
        nic.is_up = False
        if was_in:
            turn.nic_changed(guest, index, cause=cause)


def begin_forget(turn: Turn, jobs: list[Job]) -> Work:
    """Have what is left of guests removed."""
    return Work(jobs=jobs, operation=_removal(turn.table, _taps(_asked(turn.table, jobs))))


def finish_forget(turn: Turn, work: Work, outcome: Worked) -> None:
    """Forget them in any case: an audit removes what nobody knows."""
    for guest in _asked(turn.table, work.jobs):
        forget(turn, guest, cause=work.jobs[0].msg_id)
    if outcome.failed or outcome.errors:
        turn.table.audit_wanted = True
        turn.warn("interfaces_stay", "", outcome.failed or "; ".join(outcome.errors.values()))
    for job in work.jobs:
        turn.reply(job, Ack())


def forget(turn: Turn, guest: Guest, *, cause: str = "") -> None:
    """There is no such guest any more."""
    take_down(turn, guest, cause=cause)
    for destination in mirrors_of(turn.table, [nic.tap for nic in guest.nics]):
        del turn.table.mirrors[destination]
    del turn.table.guests[guest.vm_id]


def begin_end(turn: Turn, job: Job) -> Work:
    """Have all removed that belongs to a namespace."""
    table = turn.table
    taps = [*_taps(_guests_in(table, job.namespace)), *(tap.name for tap in _taps_in(table, job.namespace))]
    return Work(jobs=[job], operation=_removal(table, taps))


def finish_end(turn: Turn, work: Work, outcome: Worked) -> None:
    """Forget what has been removed; what has not can be ended by asking again."""
    (job,) = work.jobs
    table = turn.table
    errors: dict[str, None] = {}
    for guest in _guests_in(table, job.namespace):
        problems = [text for nic in guest.nics if (text := failure(outcome, nic.tap))]
        errors |= dict.fromkeys(problems)
        if not problems:
            forget(turn, guest, cause=job.msg_id)
    for tap in _taps_in(table, job.namespace):
        if error := failure(outcome, tap.name):
            errors[error] = None
            continue
        forget_tap(turn, tap.name, cause=job.msg_id)
    if errors:
        turn.fail(job, outcome.code or "unavailable", "; ".join(errors))
    else:
        turn.reply(job, Ack())


def forget_tap(turn: Turn, name: str, *, cause: str = "") -> None:
    """There is no such host tap any more, and no server on it."""
    for destination in mirrors_of(turn.table, [name]):
        del turn.table.mirrors[destination]
    tap = turn.table.taps.pop(name)
    if tap.dhcp:
        turn.effects.append(EndLease(tap=name))
    if (job := turn.table.leasing.pop(name, None)) is not None:
        turn.fail(job, "conflict", f"{name} was deleted before it had got an address")
    turn.tap_removed(tap, cause=cause)
    turn.effects += end_on(turn.table.dnsmasq, name)


def _removal(table: NetworkTable, taps: Collection[str]) -> Remove | None:
    """What it takes to remove those of them that are there; nothing if none is."""
    wanted = set(taps)
    present = {nic.tap for _, _, nic in table.places() if nic.is_up and nic.tap in wanted} | wanted & set(table.taps)
    mirrors = mirrors_of(table, wanted)
    return Remove(taps=tuple(sorted(present)), mirrors=mirrors) if present or mirrors else None


def _taps(guests: Iterable[Guest]) -> list[str]:
    return [nic.tap for guest in guests for nic in guest.nics]


def _asked(table: NetworkTable, jobs: list[Job]) -> list[Guest]:
    found: dict[int, Guest] = {}
    for job in jobs:
        match job.body:
            case UnplugGuests(vm_ids=vm_ids) | ForgetGuestNics(vm_ids=vm_ids):
                found |= {vm_id: table.guests[vm_id] for vm_id in vm_ids if vm_id in table.guests}
            case _:
                raise TypeError(f"{type(job.body).__name__} removes no interfaces")
    return list(found.values())


def _guests_in(table: NetworkTable, namespace: str) -> list[Guest]:
    return [guest for guest in table.guests.values() if guest.namespace == namespace]


def _taps_in(table: NetworkTable, namespace: str) -> list[Tap]:
    return [tap for tap in table.taps.values() if tap.namespace == namespace]
