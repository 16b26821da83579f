"""`minibus rate`: how much passes on a topic, second by second."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from bus.library.losses import LossDetector
from bus.port import Delivery, Subscription
from cli.looking.processes import run
from cli.looking.tap import as_prefix
from cli.place import Place, connected

PERIOD_S = 1.0
CAPACITY = 200_000
"""Events that wait to be counted."""
SAMPLE = 10_000
"""Sizes that are remembered for the percentiles."""
PERCENTILES = (50, 90, 99)


@dataclass
class Tally:
    """What passed in a while."""

    events: int = 0
    size_bytes: int = 0
    lost: int = 0
    largest: int = 0
    sizes: list[int] = field(default_factory=list)
    """Of all events, or of as many chosen at random."""

    def add(self, size_bytes: int, lost: int) -> None:
        """Count one event, and those that are missing before it."""
        self.events += 1
        self.size_bytes += size_bytes
        self.lost += lost
        self.largest = max(self.largest, size_bytes)
        if len(self.sizes) < SAMPLE:
            self.sizes.append(size_bytes)
        elif (place := random.randrange(self.events)) < SAMPLE:  # noqa: S311 - reservoir sampling is no secret
            self.sizes[place] = size_bytes

    def row(self, span_s: float) -> dict[str, Any]:
        """Figures per second, and sizes in bytes of the events' contents."""
        ordered = sorted(self.sizes)
        sizes = {f"p{percent}_bytes": percentile(ordered, percent) for percent in PERCENTILES}
        return {
            "seconds": round(span_s, 3),
            "events": self.events,
            "per_s": round(self.events / span_s, 1) if span_s else 0.0,
            "bytes_per_s": round(self.size_bytes / span_s) if span_s else 0,
            "mean_bytes": round(self.size_bytes / self.events) if self.events else 0,
            **sizes,
            "max_bytes": self.largest,
            "lost": self.lost,
        }


def percentile(ordered: list[int], percent: int) -> int:
    """The smallest value that so many percent do not exceed (nearest rank); 0 of nothing."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


def rate(place: Place, topic: str, *, as_json: bool, for_s: float | None) -> int:
    """Print figures each second until interrupted or the time is over, then all together; returns the exit status."""
    return run(place, _rate(place, topic, as_json, for_s))


async def _rate(place: Place, prefix: str, as_json: bool, for_s: float | None) -> int:
    loop = asyncio.get_running_loop()
    detector = LossDetector()
    whole = Tally()
    async with connected(place) as port:
        subscription = await port.subscribe(as_prefix(prefix), capacity=CAPACITY)
        begun_s = now_s = loop.time()
        end_s = begun_s + for_s if for_s is not None else float("inf")
        if not as_json:
            print(HEADING, flush=True)
        try:
            while now_s < end_s:
                second, from_s = Tally(), now_s
                await _count(subscription, detector, (second, whole), min(from_s + PERIOD_S, end_s))
                now_s = loop.time()
                _print(second.row(now_s - from_s), as_json, "")
        finally:
            _print(whole.row(loop.time() - begun_s), as_json, "all")
    return 0


async def _count(
    subscription: Subscription, detector: LossDetector, tallies: tuple[Tally, ...], until_s: float
) -> None:
    """Count what comes; those that this program itself was too slow for are missing, too, and show as lost."""
    try:
        async with asyncio.timeout_at(until_s):
            while True:
                delivery = await subscription.next()
                lost = _lost(detector, delivery)
                for tally in tallies:
                    tally.add(len(delivery.body), lost)
    except TimeoutError:
        pass


def _lost(detector: LossDetector, delivery: Delivery) -> int:
    return detector.lost(delivery.topic, delivery.envelope.epoch, delivery.envelope.topic_seq)


WIDTHS = {
    **{"seconds": 8, "events": 9, "per_s": 9, "bytes_per_s": 11, "mean_bytes": 10},
    **{"p50_bytes": 9, "p90_bytes": 9, "p99_bytes": 9, "max_bytes": 9, "lost": 6},
}
HEADING = "  ".join(name.rjust(width) for name, width in WIDTHS.items())


def _print(row: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        print(json.dumps({**row, **({"total": True} if what else {})}), flush=True)
    else:
        line = "  ".join(str(row[name]).rjust(width) for name, width in WIDTHS.items())
        print(f"{line}  {what}".rstrip(), flush=True)
