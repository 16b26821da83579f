"""What a request led to, put together from what each process remembers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bus.errors import InvalidError, NotFoundError
from bus.messages.debug import InputRecord
from cli.looking.processes import Input

MIN_PREFIX = 4
"""Characters of an id that may stand for the whole of it."""
MAX_DEPTH = 100
SHOWN_IDS = 5


@dataclass
class Step:
    """One request or command, seen by who asked and by who was asked, and what it led to."""

    id: str
    seen: list[Input] = field(default_factory=list)
    """In order of time; more than two if it was asked again."""
    reports: list[Input] = field(default_factory=list)
    """What came of effects."""
    children: list[Step] = field(default_factory=list)

    @property
    def first(self) -> InputRecord:
        """The earliest that is known of it."""
        return self.seen[0].record

    @property
    def handled(self) -> Input | None:
        """As the last one who was asked saw it."""
        return next((one for one in reversed(self.seen) if one.record.kind != "ask"), None)

    @property
    def asked(self) -> Input | None:
        """As the last one who asked saw it."""
        return next((one for one in reversed(self.seen) if one.record.kind == "ask"), None)

    @property
    def cause(self) -> str:
        """Id of what led to it; empty if nothing did."""
        return next((one.record.cause for one in self.seen if one.record.cause not in ("", self.id)), "")

    @property
    def last(self) -> InputRecord:
        """As the last one who asked saw it; of outsiders nothing is known but how they were answered."""
        return (self.asked or self.seen[-1]).record

    @property
    def outcome(self) -> str:
        """How it ended."""
        return self.last.outcome or "in progress"

    @property
    def duration_s(self) -> float | None:
        """Until then, for who asked several times from the first time on; None while it is under way."""
        last = self.last
        if last.kind != "ask" or last.duration_s is None:
            return last.duration_s
        begun_s = next(one.record.time_s for one in self.seen if one.record.kind == "ask")
        return last.duration_s + max(0.0, last.time_s - begun_s)

    @property
    def attempts(self) -> int:
        """How often it was asked."""
        kinds = [one.record.kind for one in self.seen]
        return max(kinds.count("ask"), kinds.count("request"), 1)

    def caused(self) -> int:
        """Everything below it."""
        return sum(one.record.times for one in self.reports) + sum(1 + child.caused() for child in self.children)


def steps(found: Iterable[Input]) -> dict[str, Step]:
    """All steps by id, joined to trees."""
    table: dict[str, Step] = {}
    reports: list[Input] = []
    for one in sorted(found, key=lambda one: one.record.time_s):
        if one.record.id:
            table.setdefault(one.record.id, Step(one.record.id)).seen.append(one)
        elif one.record.cause:
            reports.append(one)
    for one in reports:
        if one.record.cause in table:
            table[one.record.cause].reports.append(one)
    for step in table.values():
        if step.cause in table and not _is_above(table, step.id, step.cause):
            table[step.cause].children.append(step)
    return table


def _is_above(table: dict[str, Step], step_id: str, cause: str) -> bool:
    """Whether a step is among its own causes, which only somebody who makes up ids can achieve, or too deep."""
    for _ in range(MAX_DEPTH):
        if cause == step_id:
            return True
        if cause not in table:
            return False
        cause = table[cause].cause
    return True


def roots(table: dict[str, Step]) -> list[Step]:
    """What nothing known led to, newest last."""
    found = [step for step in table.values() if step.cause not in table]
    return sorted(found, key=lambda step: step.first.time_s)


def find(table: dict[str, Step], text: str) -> Step:
    """The step with this id, or the only one whose id begins so; raises NotFoundError or InvalidError."""
    if text in table:
        return table[text]
    if len(text) < MIN_PREFIX:
        raise InvalidError(f"an id, or its first {MIN_PREFIX} characters at least, is needed, not `{text}`")
    found = sorted(step_id for step_id in table if step_id.startswith(text))
    if len(found) > 1:
        shown = ", ".join(found[:SHOWN_IDS])
        raise InvalidError(f"several ids begin with {text[:80]}: {shown}{', ...' if len(found) > SHOWN_IDS else ''}")
    if not found:
        raise NotFoundError(
            f"nobody remembers {text[:80]}: each process keeps its last 1,000 inputs; see `minibus trace`"
        )
    return table[found[0]]


def walk(step: Step, depth: int = 0) -> Iterator[tuple[int, Step | Input]]:
    """A step and what it led to with their depths, each level in order of time."""
    yield depth, step
    below: list[Step | Input] = [*step.children, *step.reports]
    for one in sorted(below, key=lambda one: one.first.time_s if isinstance(one, Step) else one.record.time_s):
        if isinstance(one, Step):
            yield from walk(one, depth + 1)
        else:
            yield depth + 1, one


def as_object(step: Step) -> dict[str, Any]:
    """For programs."""
    return {
        "id": step.id,
        "cause": step.cause,
        "type": step.first.type,
        "time_s": step.first.time_s,
        "outcome": step.outcome,
        "duration_s": step.duration_s,
        "seen": [one.as_object() for one in step.seen],
        "reports": [one.as_object() for one in step.reports],
        "children": [as_object(child) for child in step.children],
    }
