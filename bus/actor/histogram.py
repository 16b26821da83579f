"""Latencies counted in fixed buckets, so that those of hours take no more memory than those of a second."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from bus.messages.control import Latency

BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Upper bounds of the buckets, about three to a decade; what is longer is in none of them."""


class Histogram:
    """Counts since the process started; they only grow."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def latency(self) -> Latency:
        """As it is told: only the bounds at which something is added to the buckets below."""
        totals = list(accumulate(self._counts))
        shown = [(bound, total) for bound, total, own in zip(BOUNDS_S, totals, self._counts, strict=False) if own]
        return Latency(count=totals[-1], sum_s=round(self._sum_s, 6), buckets=tuple(shown))


def cumulative(latency: Latency) -> list[tuple[float, int]]:
    """The count at every one of `BOUNDS_S`, whichever of them were told."""
    told = dict(latency.buckets)
    reached, found = 0, []
    for bound in BOUNDS_S:
        reached = max(reached, told.get(bound, reached))
        found.append((bound, reached))
    return found
