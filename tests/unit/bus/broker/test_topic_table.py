"""What the broker tells of topics."""

from __future__ import annotations

import time

import pytest

from bus.broker.topic_table import PAGE, TopicTable


def nobody(topic: str) -> int:
    """Readers of a topic."""
    return 0


def test_counts_sizes_publishers_readers() -> None:
    table = TopicTable()
    for number in range(3):
        table.passed(b"vm/a/", 10 + number, lambda: "vm@n1")
    table.passed(b"log/x/", 5, lambda: "cli@n1")
    listed = table.listed("vm/", "", {"vm/a/": 7}.__getitem__)
    (info,) = listed.topics
    assert (info.topic, info.count, info.size_bytes, info.publishers, info.readers) == ("vm/a/", 3, 33, ("vm@n1",), 7)
    assert info.last_s >= listed.since_s > 0
    assert [one.topic for one in table.listed("", "", nobody).topics] == ["log/x/", "vm/a/"]


def test_who_publishes_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "time", lambda: now_s)
    table = TopicTable()
    looked: list[str] = []

    def sender() -> str:
        looked.append("x")
        return f"peer-{len(looked)}@n1"

    for _ in range(100):
        table.passed(b"a/", 1, sender)
    assert len(looked) == 1
    for second in range(1, 20):
        now_s = 1000.0 + second
        table.passed(b"a/", 1, sender)
    (info,) = table.listed("", "", nobody).topics
    assert info.publishers == ("peer-1@n1", "peer-2@n1", "peer-3@n1", "peer-4@n1")
    now_s = 0.0
    table.passed(b"a/", 1, sender)
    assert len(looked) == 21, "a clock that was put back is no reason to stop looking"


def test_however_many_topics_there_are_the_table_stays_small() -> None:
    table = TopicTable(capacity=10)
    table.passed(b"kept/", 1, str)
    for number in range(1000):
        table.passed(f"t/{number}/".encode(), 1, str)
        table.passed(b"kept/", 1, str)
    listed = table.listed("", "", nobody)
    assert len(listed.topics) == 10
    assert listed.forgotten == 991
    assert [one.count for one in listed.topics if one.topic == "kept/"] == [1001]


def test_pages() -> None:
    table = TopicTable()
    names = [f"t/{number:05}/" for number in range(2 * PAGE + 5)]
    for name in reversed(names):
        table.passed(name.encode(), 1, str)
    found: list[str] = []
    while True:
        page = table.listed("t/", found[-1] if found else "", nobody)
        found += [one.topic for one in page.topics]
        if not page.more:
            break
        assert len(page.topics) == PAGE
    assert found == names


def test_names_that_are_not_text() -> None:
    table = TopicTable()
    table.passed(b"\xff/", 1, str)
    assert table.listed("", "", nobody).topics == ()
