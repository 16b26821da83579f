"""How much passes through each port, from the counters of the kernel: an average in which the newest counts most."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shims.network.base import Counters

KEPT = 10
"""Samples of each port."""
MIB = 1 << 20


class Rate(NamedTuple):
    """MiB a second, from the guest's point of view."""

    rx_mbps: float = 0.0
    tx_mbps: float = 0.0


class Sample(NamedTuple):
    """Counters of a port at a time (a clock that nobody sets)."""

    time_s: float
    rx_bytes: int
    tx_bytes: int


def weighted(samples: Iterable[Sample]) -> Rate:
    """The average over the intervals between samples; interval i, the oldest being 1, counts i times.

    Counters begin anew when a port is made again: an interval in which one falls counts as without traffic.
    """
    total = rx = tx = 0.0
    for weight, (old, new) in enumerate(itertools.pairwise(samples), start=1):
        seconds = new.time_s - old.time_s
        if seconds <= 0:
            continue
        total += weight
        rx += weight * max(new.rx_bytes - old.rx_bytes, 0) / seconds
        tx += weight * max(new.tx_bytes - old.tx_bytes, 0) / seconds
    return Rate(rx / total / MIB, tx / total / MIB) if total else Rate()


def together(rates: Iterable[Rate]) -> Rate:
    """Of several ports."""
    found = tuple(rates)
    return Rate(sum(rate.rx_mbps for rate in found), sum(rate.tx_mbps for rate in found))


class Rates:
    """The last samples of each port, and what follows from them."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self.now: dict[str, Rate] = {}
        """Only of ports with traffic."""

    def add(self, time_s: float, counters: Mapping[str, Counters]) -> None:
        """Take in counters of all ports; those that are not among them are forgotten."""
        self._samples = {name: self._samples.get(name, deque(maxlen=KEPT)) for name in counters}
        self.now = {}
        for name, samples in self._samples.items():
            samples.append(Sample(time_s, counters[name].rx_bytes, counters[name].tx_bytes))
            rate = weighted(samples)
            if rate.rx_mbps or rate.tx_mbps:
                self.now[name] = rate
