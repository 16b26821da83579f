"""Latencies in buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.actor.histogram import BOUNDS_S, Histogram, cumulative
from bus.messages.control import Latency


def test_nothing() -> None:
    assert Histogram().latency() == Latency()
    assert cumulative(Latency()) == [(bound, 0) for bound in BOUNDS_S]


def test_bounds_belong_to_their_buckets_and_what_is_longer_counts_too() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.0001, 0.0002, 300.0, 301.0):
        histogram.add(seconds)
    latency = histogram.latency()
    assert latency.buckets == ((0.0001, 2), (0.00025, 3), (300.0, 4))
    assert (latency.count, latency.sum_s) == (5, 601.0003)


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_every_bucket_counts_all_that_are_not_longer(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    latency = histogram.latency()
    assert latency.count == len(durations)
    expected = [(bound, sum(seconds <= bound for seconds in durations)) for bound in BOUNDS_S]
    assert cumulative(latency) == expected
