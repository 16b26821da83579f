"""Topics and the counting of their readers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.broker.readers import Readers
from bus.numbering import TopicNumbers
from bus.topics import MAX_TOPIC, log_topic, namespace_topic, node_topic, stats_topic, sync_topic, topic, vm_topic


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (topic(), ""),
        (vm_topic("minimega", "web1", "started"), "vm/minimega/web1/started/"),
        (namespace_topic("exp1", "destroyed"), "namespace/exp1/destroyed/"),
        (stats_topic("kn1", "vm"), "stats/kn1/vm/"),
        (log_topic("kn1", "vm", "warn"), "log/kn1/vm/warn/"),
        (node_topic("kn1", "vm", "restarted"), "node/kn1/vm/restarted/"),
        (sync_topic("00ff"), "sync/00ff/"),
        (vm_topic("a/b", "c d", "é"), "vm/a%2Fb/c%20d/%C3%A9/"),
        (topic("pipe", "", "x"), "pipe//x/"),
    ],
)
def test_words_become_a_topic(made: str, expected: str) -> None:
    assert made == expected


@given(st.lists(st.text(max_size=10), max_size=5), st.lists(st.text(max_size=10), max_size=5))
def test_different_words_never_make_the_same_topic(some: list[str], other: list[str]) -> None:
    assert (topic(*some) == topic(*other)) == (some == other)


def join(prefix: str) -> bytes:
    """The frame of one subscription."""
    return b"\x01" + prefix.encode()


def leave(prefix: str) -> bytes:
    """The frame of one subscription that ends."""
    return b"\x00" + prefix.encode()


def test_readers_are_counted_by_exact_prefix_and_by_what_covers() -> None:
    readers = Readers()
    for frame in (join("vm/"), join("vm/"), join("vm/exp1/"), join(""), leave("vm/"), leave("net/")):
        assert readers.heard(frame) is None
    assert [readers.exact(prefix) for prefix in ("vm/", "vm/exp1/", "", "net/")] == [1, 1, 1, 0]
    assert [readers.covering(of) for of in ("vm/exp1/a/started/", "vm/exp2/", "net/x/")] == [3, 2, 1]


def test_the_last_leave_ends_the_count() -> None:
    readers = Readers()
    for frame in (join("a/"), leave("a/"), leave("a/"), join("a/")):
        readers.heard(frame)
    assert readers.exact("a/") == 1


def test_joining_sync_is_answered_and_not_counted() -> None:
    readers = Readers()
    assert readers.heard(join("sync/00ff/")) == b"sync/00ff/"
    assert readers.heard(leave("sync/00ff/")) is None
    assert readers.exact("sync/00ff/") == 0


@pytest.mark.parametrize("frame", [b"", b"\x02vm/", b"\x01" + b"x" * (MAX_TOPIC + 1)])
def test_a_frame_that_is_no_subscription_is_ignored(frame: bytes) -> None:
    readers = Readers()
    assert readers.heard(frame) is None
    assert readers.covering("x" * (MAX_TOPIC + 1)) == readers.covering("vm/") == 0


def test_numbers_run_per_topic_and_the_fresh_ones_are_told_once() -> None:
    numbers = TopicNumbers()
    assert [numbers.next(name) for name in ("a/", "b/", "a/", "a/")] == [1, 1, 2, 3]
    assert numbers.take_fresh() == {"a/": 3, "b/": 1}
    assert numbers.take_fresh() == {}
    assert numbers.next("b/") == 2
    assert numbers.take_fresh() == {"b/": 2}


def test_the_least_used_topic_is_forgotten_when_there_are_too_many() -> None:
    numbers = TopicNumbers(capacity=2)
    for name in ("a/", "b/", "a/", "c/"):
        numbers.next(name)
    assert numbers.take_fresh() == {"a/": 2, "c/": 1}
    assert [numbers.next("a/"), numbers.next("b/")] == [3, 1]
