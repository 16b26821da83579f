"""`minibus trace`: what a request or command led to, across all processes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bus.messages.base import DEFAULT_NAMESPACE
from cli.answers.columns import columns, seconds
from cli.answers.printable import printable
from cli.looking.inputs import clock, times
from cli.looking.processes import Input, all_inputs, run
from cli.looking.trace_tree import Step, as_object, find, roots, steps, walk
from cli.place import Place

LISTED = 20
"""Roots, newest last."""
PEER = "peer-"
"""Begins what the broker calls those who have no name."""
HEADER = ("time", "id", "what", "by", "took", "outcome", "led to", "about")


def trace(place: Place, msg_id: str, *, as_json: bool) -> int:
    """Print a request with all it caused, without an id the newest ones; returns the exit status."""
    return run(place, _trace(place, msg_id, as_json))


async def _trace(place: Place, msg_id: str, as_json: bool) -> int:
    table = steps(await all_inputs(place))
    if msg_id:
        step = find(table, msg_id)
        print(json.dumps(as_object(step)) if as_json else "\n".join(tree(step)))
    else:
        newest = roots(table)[-LISTED:]
        print(json.dumps(list(map(as_object, newest))) if as_json else listing(newest))
    return 0


def listing(newest: list[Step]) -> str:
    """A line for each."""
    rows = [
        (
            clock(step.first.time_s),
            printable(step.id),
            printable(step.first.type or "?"),
            printable(_who(step)),
            seconds(step.duration_s),
            printable(step.outcome),
            str(step.caused()),
            printable(_about(step)),
        )
        for step in newest
    ]
    return columns(HEADER, rows, left=("time", "id", "what", "by", "outcome", "about"))


def tree(step: Step) -> Iterator[str]:
    """A line for each step, indented below what led to it; times count from the first."""
    begun_s = step.first.time_s
    yield f"{clock(begun_s)}  {printable(step.id)}" + (f"  (led to by {printable(step.cause)})" if step.cause else "")
    for depth, one in walk(step):
        record = one.first if isinstance(one, Step) else one.record
        offset = seconds(max(0.0, record.time_s - begun_s))
        text = _step_text(one) if isinstance(one, Step) else _report_text(one)
        yield f"{'+' + offset:>9}  {'  ' * depth}{printable(text)}".replace("\n", " ")


def _report_text(one: Input) -> str:
    return f"{one.record.type}  reported in {one.actor}  {times(one.record)}".rstrip()


def _step_text(step: Step) -> str:
    handled = step.handled.record if step.handled else None
    notes = [
        f"took {seconds(step.duration_s)}" if step.duration_s is not None else "",
        f"(handled in {seconds(handled.duration_s)})" if step.asked and handled and handled.duration_s else "",
        f"asked {step.attempts} times" if step.attempts > 1 else "",
        "before a restart" if any(one.record.restored for one in step.seen) else "",
    ]
    told = "  ".join(note for note in notes if note)
    parts = (step.first.type or "?", _who(step), _about(step), step.outcome, told)
    return "  ".join(part for part in parts if part)


def _who(step: Step) -> str:
    """From whom to whom, as far as anybody knows."""
    asker = step.asked.actor if step.asked else step.first.sender.partition("@")[0]
    if asker.startswith(PEER):
        asker = "client"
    handled = step.handled
    if handled is not None and handled.record.kind == "command":
        return f"in {handled.actor}"
    receiver = (handled.record.to if handled else step.first.to) or (handled.actor if handled else "?")
    return f"{asker or '?'} -> {receiver.partition('@')[0]}"


def _about(step: Step) -> str:
    told = (one.record for one in step.seen if one.record.outcome in ("", step.outcome))  # no refusal before it worked
    summary = next((record.summary for record in told if record.summary), "")
    namespace = next((one.record.namespace for one in step.seen if one.record.namespace), "")
    where = f"namespace={namespace}" if namespace not in ("", DEFAULT_NAMESPACE) else ""
    return " ".join(part for part in (where, summary) if part)
