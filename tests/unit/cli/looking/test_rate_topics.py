"""`minibus rate` and `minibus topics`: figures."""

from __future__ import annotations

import pytest

from bus.messages.control import TopicInfo, TopicList
from cli.answers.columns import columns, seconds
from cli.looking import rate
from cli.looking.rate import Tally, percentile
from cli.looking.topics import table


def test_nothing_passed() -> None:
    row = Tally().row(1.0)
    assert set(row.values()) == {0, 1.0}
    assert Tally().row(0.0)["per_s"] == 0.0


def test_events_bytes_sizes_losses() -> None:
    tally = Tally()
    for size in range(1, 101):
        tally.add(size, 1 if size == 50 else 0)
    assert tally.row(2.0) == {
        "seconds": 2.0,
        "events": 100,
        "per_s": 50.0,
        "bytes_per_s": 2525,
        "mean_bytes": 50,
        "p50_bytes": 50,
        "p90_bytes": 90,
        "p99_bytes": 99,
        "max_bytes": 100,
        "lost": 1,
    }


def test_percentiles_of_many_come_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "SAMPLE", 1000)
    tally = Tally()
    for size in range(20_000):
        tally.add(size, 0)
    assert len(tally.sizes) == 1000
    assert abs(tally.row(1.0)["p50_bytes"] - 10_000) < 2_000


@pytest.mark.parametrize(("values", "percent", "value"), [([], 50, 0), ([7], 1, 7), ([1, 2], 50, 1), ([1, 2], 51, 2)])
def test_percentile(values: list[int], percent: int, value: int) -> None:
    assert percentile(values, percent) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "-"), (0.0, "0 us"), (0.00001234, "12.3 us"), (0.0009996, "1 ms"), (0.25, "250 ms"), (0.9996, "1 s")),
        *((12.345, "12.3 s"), (99.96, "1.67 min"), (3600.0, "60 min"), (100_000.0, "27.8 h")),
    ],
)
def test_durations_at_a_glance(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_columns() -> None:
    assert columns(("name", "n"), (("a", "10"), ("long one", "5")), left=("name",)) == (
        "name       n\na         10\nlong one   5"
    )


def test_topics() -> None:
    found = [TopicInfo(topic="vm/a\x1b/", count=7, size_bytes=70, last_s=99.0, publishers=("vm@n1", "x@n1"), readers=2)]
    told = TopicList(topics=(), since_s=40.0, forgotten=3)
    header, row, empty, total = table(found, told, 100.0).splitlines()
    assert header.split() == ["topic", "events", "bytes", "last", "readers", "publishers"]
    assert row.split() == ["vm/a\\x1b/", "7", "70", "1", "s", "2", "vm@n1,x@n1"]
    assert (empty, total) == ("", "1 topic in the 60 s since the broker started; 3 topics had to make room for others")
    assert table(found, told, 100.0, {"vm/a\x1b/": 5}).splitlines()[1].split()[3] == "2"
    assert table(found, told, 100.0, {}).splitlines()[1].split()[3] == "7"
    assert table([], told, 0.0).startswith("topic  events")
