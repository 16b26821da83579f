"""`minibus inputs`: the last inputs of the processes, and as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from bus.errors import BusError
from bus.messages.debug import GetInputs, InputRecord
from bus.port import Port
from cli.answers.columns import seconds
from cli.answers.printable import printable
from cli.looking.processes import ANSWER_S, Input, actors, known, run
from cli.place import Place, connected

PERIOD_S = 0.5
UNDER_WAY = "..."


def inputs(place: Place, actor: str, *, as_json: bool, follow: bool) -> int:
    """Print the last inputs of an actor, or of all, and go on with `follow`; returns the exit status."""
    return run(place, _inputs(place, actor, as_json, follow))


async def _inputs(place: Place, actor: str, as_json: bool, follow: bool) -> int:
    async with connected(place) as port:
        names = [await known(port, actor)] if actor else list(await actors(port))
        if actor and not follow:  # what it cannot tell is a failure, not a remark
            answer = await port.ask(actor, GetInputs(), timeout_s=ANSWER_S)
            _print([Input(actor, record) for record in answer.inputs], as_json)
            return 0
        seen = Seen()
        while True:
            _print(await _new(port, names, seen), as_json)
            if not follow:
                return 0
            await asyncio.sleep(PERIOD_S)


class Seen:
    """What has been printed already, for each process."""

    def __init__(self) -> None:
        self._epochs: dict[str, str] = {}
        self._last: dict[str, int] = {}
        self._open: dict[str, set[int]] = {}
        """Numbers of those that were under way."""

    def question(self, actor: str) -> GetInputs:
        """What to ask next: whatever is new, and what has become of those under way."""
        return GetInputs(after=self._last.get(actor, 0), also=tuple(self._open.get(actor, ())))

    def restarted(self, actor: str, epoch: str) -> bool:
        """Whether the process is another one than last time; from now on this one is known."""
        known = self._epochs.get(actor, epoch)
        self._epochs[actor] = epoch
        if known != epoch:
            self._last[actor], self._open[actor] = 0, set()
        return known != epoch

    def fresh(self, actor: str, records: Sequence[InputRecord]) -> list[Input]:
        """Those that are new, or have ended since they were printed."""
        last, open_ = self._last.get(actor, 0), self._open.get(actor, set())
        found = [one for one in records if one.number > last or (one.number in open_ and one.outcome)]
        self._open[actor] = {one.number for one in records if not one.outcome}
        self._last[actor] = max((last, *(one.number for one in records)))
        return [Input(actor, one) for one in found]


async def _new(port: Port, names: Sequence[str], seen: Seen) -> list[Input]:
    found: list[Input] = []
    for name in names:
        try:
            answer = await port.ask(name, seen.question(name), timeout_s=ANSWER_S)
            if seen.restarted(name, answer.epoch):
                answer = await port.ask(name, seen.question(name), timeout_s=ANSWER_S)
        except BusError:
            continue  # it is being restarted, and its successor remembers what is in the journal
        found += seen.fresh(name, answer.inputs)
    return sorted(found, key=lambda one: one.record.time_s)


def _print(found: list[Input], as_json: bool) -> None:
    for one in found:
        print(json.dumps(one.as_object()) if as_json else line(one), flush=True)


def line(one: Input) -> str:
    """Time, process, what, from or to whom, how it ended, what about, id."""
    record = one.record
    who = f"to {record.to}" if record.to else f"from {record.sender}" if record.sender else ""
    ended = f"{record.outcome} {seconds(record.duration_s)}" if record.outcome else UNDER_WAY
    if record.kind == "report":
        ended = times(record)  # it is an end itself
    parts = [
        clock(record.time_s),
        one.actor.ljust(9),
        record.kind.ljust(7),
        (record.type or "?").ljust(22),
        who.ljust(18),
        ended.ljust(10),
        record.summary,
        "(before a restart)" if record.restored else "",
        f"id={record.id}" if record.id else "",
        f"cause={record.cause}" if record.cause else "",
    ]
    return printable(" ".join(part for part in parts if part).replace("\n", " ")).rstrip()


def times(record: InputRecord) -> str:
    """How often a report came in a row, if more than once."""
    return f"{record.times} times in {seconds(record.duration_s)}" if record.times > 1 else ""


def clock(time_s: float) -> str:
    """Local time with milliseconds; nonsense is shown as it is."""
    try:
        when = datetime.fromtimestamp(time_s, UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return str(time_s)
    return f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}"
