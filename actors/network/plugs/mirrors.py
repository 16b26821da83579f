"""Mirrors: what passes through one tap is copied to another."""

from __future__ import annotations

from collections.abc import Mapping

from actors.network.names import shown
from actors.network.operations import Mirror, Unmirror, Worked
from actors.network.table import Job, MirrorRecord, NetworkTable, Work, failure
from actors.network.turn import Turn
from bus.messages.base import WILDCARD, Ack
from bus.messages.network import ClearMirrors, MirrorTap


def begin_mirror(turn: Turn, job: Job) -> Work | None:
    """Have the traffic of a tap copied."""
    body = _mirror(job)
    if problem := _problem(turn.table, job.namespace, body):
        turn.fail(job, "invalid", problem)
        return None
    return Work(jobs=[job], operation=Mirror(source=body.source, destination=body.destination))


def _problem(table: NetworkTable, namespace: str, body: MirrorTap) -> str:
    source, destination = body.source, body.destination
    if source == destination:
        return "cannot mirror tap to itself"
    bridges: list[str] = []
    for what, name in (("source", source), ("destination", destination)):
        bridge = _bridge_of(table, namespace, name)
        if not bridge or body.bridge not in ("", bridge):
            return f"{what} tap is not on bridge: {shown(name)}"
        bridges.append(bridge)
    if bridges[0] != bridges[1]:
        return f"interfaces on different bridges: {bridges[0]} and {bridges[1]}"
    if destination in table.mirrors:
        return f"destination tap is already a mirror: {destination}"
    # Copies of copies would go round without end.
    if source in table.mirrors:
        return f"source tap is a mirror itself: {source}"
    if any(one.source == destination for one in table.mirrors.values()):
        return f"destination tap is mirrored itself: {destination}"
    return ""


def _bridge_of(table: NetworkTable, namespace: str, name: str) -> str:
    """The bridge that a tap of a namespace is plugged into now; empty if it is not, or belongs to another."""
    tap = table.taps.get(name)
    if tap is not None:
        return tap.segment.bridge if tap.namespace == namespace else ""
    found = (
        nic.bridge for guest, _, nic in table.places() if nic.tap == name and nic.is_up and guest.namespace == namespace
    )
    return next(found, "")


def finish_mirror(turn: Turn, work: Work, outcome: Worked) -> None:
    """Note it."""
    (job,) = work.jobs
    if outcome.failed:
        turn.fail(job, outcome.code, outcome.failed)
        return
    body = _mirror(job)
    record = MirrorRecord(source=body.source, destination=body.destination, namespace=job.namespace)
    turn.table.mirrors[body.destination] = record
    turn.reply(job, Ack())


def torn(table: NetworkTable, moved: Mapping[str, str] | None = None) -> list[MirrorRecord]:
    """Mirrors whose ends are on different bridges, once `moved` taps are on these; one that is unplugged is on none."""
    if not table.mirrors:
        return []
    bridges = {
        **{name: tap.segment.bridge for name, tap in table.taps.items()},
        **{nic.tap: nic.bridge for _, _, nic in table.places()},
        **(moved or {}),
    }
    ends = ((one, bridges.get(one.source, ""), bridges.get(one.destination, "")) for one in table.mirrors.values())
    return [one for one, source, destination in ends if source and destination and source != destination]


def drop_torn(turn: Turn) -> tuple[str, ...]:
    """Forget those; returns a sentence for each."""
    found = torn(turn.table)
    for one in found:
        del turn.table.mirrors[one.destination]
    return tuple(
        f"{one.source} is not copied to {one.destination} any more: they are on different bridges" for one in found
    )


def begin_clear(turn: Turn, job: Job) -> Work | None:
    """Have copying ended."""
    destination = _clear(job).destination
    mirrors = turn.table.mirrors
    if destination in ("", WILDCARD):
        ends = tuple(one.destination for one in mirrors.values() if one.namespace == job.namespace)
    else:
        ends = (destination,)
        if destination not in mirrors or mirrors[destination].namespace != job.namespace:
            turn.fail(job, "not_found", f"not a mirror: {shown(destination)}")
            return None
    return Work(jobs=[job], operation=Unmirror(destinations=ends) if ends else None)


def finish_clear(turn: Turn, work: Work, outcome: Worked) -> None:
    """Forget those that have ended."""
    (job,) = work.jobs
    errors: list[str] = []
    for destination in work.operation.destinations if isinstance(work.operation, Unmirror) else ():
        if error := failure(outcome, destination):
            errors.append(error)
        else:
            del turn.table.mirrors[destination]
    if errors:
        turn.fail(job, outcome.code or "unavailable", "; ".join(dict.fromkeys(errors)))
    else:
        turn.reply(job, Ack())


def _mirror(job: Job) -> MirrorTap:
    assert isinstance(job.body, MirrorTap)  # noqa: S101 - for the type checker
    return job.body


def _clear(job: Job) -> ClearMirrors:
    assert isinstance(job.body, ClearMirrors)  # noqa: S101 - for the type checker
    return job.body
