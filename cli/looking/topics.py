"""`minibus topics`: what passes on the bus, by topic."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec

from bus.errors import BusError
from bus.messages.control import GetTopics, TopicInfo, TopicList
from bus.port import Port
from cli.answers.columns import columns, seconds
from cli.answers.printable import printable
from cli.looking.processes import run
from cli.place import Place, connected

TIMEOUT_S = 5.0
PERIOD_S = 1.0
HEADER = ("topic", "events", "bytes", "last", "readers", "publishers")
CLEAR = "\x1b[H\x1b[2J"
"""Cursor to the top, and an empty screen (ECMA-48)."""


def topics(place: Place, prefix: str, *, as_json: bool, watch: bool) -> int:
    """Print the topics with this prefix, with `watch` again each second; returns the exit status."""
    return run(place, _topics(place, prefix, as_json, watch))


async def _topics(place: Place, prefix: str, as_json: bool, watch: bool) -> int:
    clear = CLEAR if watch and not as_json and sys.stdout.isatty() else ""
    before: Mapping[str, int] | None = None
    async with connected(place) as port:
        while True:
            try:
                found, last = await _all(port, prefix)
            except BusError:
                if before is None:
                    raise
                await asyncio.sleep(PERIOD_S)  # the broker is being restarted
                continue
            if as_json:
                print(json.dumps(list(map(msgspec.structs.asdict, found))), flush=True)
            else:
                print(f"{clear}{table(found, last, time.time(), before)}", flush=True)
            if not watch:
                return 0
            if not (as_json or clear):
                print()
            before = {one.topic: one.count for one in found}
            await asyncio.sleep(PERIOD_S)


async def _all(port: Port, prefix: str) -> tuple[list[TopicInfo], TopicList]:
    found: list[TopicInfo] = []
    while True:
        after = found[-1].topic if found else ""
        page = await port.ask("broker", GetTopics(prefix=prefix, after=after), timeout_s=TIMEOUT_S)
        found += page.topics
        if not page.more or not page.topics:
            return found, page


def table(found: Sequence[TopicInfo], told: TopicList, now_s: float, before: Mapping[str, int] | None = None) -> str:
    """Columns; with the counts of a second before, also events per second."""
    header = HEADER if before is None else (*HEADER[:3], "per_s", *HEADER[3:])
    rows = [_row(one, now_s, before) for one in found]
    since = seconds(max(0.0, now_s - told.since_s))
    lost = f"; {told.forgotten} topics had to make room for others" if told.forgotten else ""
    total = f"{len(found)} topic{'s' * (len(found) != 1)} in the {since} since the broker started{lost}"
    return f"{columns(header, rows, left=('topic', 'publishers'))}\n\n{total}"


def _row(one: TopicInfo, now_s: float, before: Mapping[str, int] | None) -> tuple[str, ...]:
    rate = () if before is None else (str(max(0, one.count - before.get(one.topic, 0))),)
    return (
        printable(one.topic),
        str(one.count),
        str(one.size_bytes),
        *rate,
        seconds(max(0.0, now_s - one.last_s)),
        str(one.readers),
        printable(",".join(one.publishers)) or "-",
    )
