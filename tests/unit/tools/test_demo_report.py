"""What the demo says: numbers, tables, the tally of events."""

from __future__ import annotations

import json

import pytest

from tools.demo_report import (
    EventTally,
    Timing,
    event_name,
    first_rows,
    leftover_text,
    log_errors,
    per_guest,
    plural,
    seconds_text,
    timing_table,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 s"), (0.004, "0.00 s"), (1.234, "1.23 s"), (9.994, "9.99 s"), (9.996, "10.0 s"), (123.44, "123.4 s")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "event", "0 events"), (1, "event", "1 event"), (2, "process", "2 processes"), (1, "process", "1 process")],
)
def test_plural(count: int, noun: str, text: str) -> None:
    assert plural(count, noun) == text


def test_time_per_guest() -> None:
    assert per_guest(0.31, 100) == "100 containers, 3.1 ms each"
    assert per_guest(0.5, 0) == "0 containers, 500.0 ms each"


def test_timing_table_is_aligned_and_ends_with_the_sum() -> None:
    table = timing_table([Timing("launch", 0.314, "100 containers"), Timing("a long part", 12.0)], 13.5)
    assert table.splitlines() == [
        "launch        0.31 s  100 containers",
        "a long part   12.0 s",
        "all together  13.5 s",
    ]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (1, "head\na\n... and 2 more"),
        (2, "head\na\nb\n... and 1 more"),
        (3, "head\na\nb\nc"),
        (9, "head\na\nb\nc"),
    ],
)
def test_first_rows(rows: int, text: str) -> None:
    assert first_rows("head\na\nb\nc", rows) == text


def test_first_rows_of_nothing() -> None:
    assert first_rows("", 3) == ""


def test_tally_counts_by_the_last_word() -> None:
    tally = EventTally()
    for name in ("a", "b"):
        assert tally.take(f"vm/minimega/{name}/launched/", "e1", 1) == "launched"
    tally.take("vm/minimega/a/quit/", "e1", 1)
    assert tally.counts == {"launched": 2, "quit": 1}
    assert tally.sentence() == "2 launched, 1 quit; none lost"


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [
        ([("e1", 1), ("e1", 2), ("e1", 3)], 0),
        ([("e1", 1), ("e1", 4)], 2),
        ([("e1", 2)], 1),
        ([("e1", 1), ("e2", 1)], 0),
        ([("e1", 1), ("e2", 3)], 2),
    ],
)
def test_tally_notices_what_is_missing(numbers: list[tuple[str, int]], lost: int) -> None:
    tally = EventTally()
    for epoch, topic_seq in numbers:
        tally.take("vm/minimega/a/started/", epoch, topic_seq)
    assert tally.lost == lost
    assert tally.sentence().endswith(f"{lost} lost on the way" if lost else "none lost")


def test_numbers_of_different_topics_are_not_mixed() -> None:
    tally = EventTally()
    tally.take("vm/minimega/a/started/", "e1", 1)
    tally.take("vm/minimega/b/started/", "e1", 1)
    assert tally.lost == 0


def test_no_events() -> None:
    assert EventTally().sentence() == "no events"


@pytest.mark.parametrize(
    ("topic", "text"), [("vm/minimega/demo1/quit/", "demo1 quit"), ("vm/ns/a%2Fb/started/", "a/b started")]
)
def test_event_name(topic: str, text: str) -> None:
    assert event_name(topic) == text


def test_leftovers() -> None:
    assert leftover_text([]).startswith("Nothing is left")
    assert leftover_text(["mount /x", "process 7"]) == "Left behind (2):\n  mount /x\n  process 7"
    assert leftover_text([str(n) for n in range(5)], shown=2).endswith("  1\n  ... and 3 more")


def _line(**fields: object) -> str:
    return json.dumps({"time": "2020-01-01T00:00:00.000Z", **fields})


def test_errors_of_a_log() -> None:
    text = "\n".join(
        [
            _line(level="error", actor="vm", event="first"),
            _line(level="info", actor="vm", event="ready"),
            "not JSON",
            "[1, 2]",
            _line(level="error", actor="node", event="child_ended", child="vm", how="exit status 70"),
            _line(level="error", actor="vm", event="crashed", trace="Traceback\n  line\nKeyError: 'x'\n"),
        ]
    )
    assert log_errors(text, shown=2) == [
        "log: node: child_ended child=vm how=exit status 70",
        "log: vm: crashed  KeyError: 'x'",
    ]
    assert log_errors("") == []
