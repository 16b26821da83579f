"""Lost events, noticed by their numbers."""

from __future__ import annotations

import pytest

from bus.library import losses
from bus.library.losses import LossDetector


def test_losses_are_counted_for_each_topic_and_publisher() -> None:
    detector = LossDetector()
    seen = [("a/", "e", 7), ("a/", "e", 8), ("b/", "e", 1), ("a/", "e", 11), ("a/", "f", 1), ("b/", "e", 2)]
    assert [detector.lost(*event) for event in seen] == [0, 0, 0, 2, 0, 0]


def test_the_memory_of_topics_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MAX_FOLLOWED", 10)
    detector = LossDetector()
    assert sum(detector.lost(f"{number}/", "e", number) for number in range(100)) == 0
    assert len(detector._last) == 10


def everything(topic: str) -> bool:
    return True


def test_the_end_of_a_topic_shows_by_what_the_publisher_tells() -> None:
    detector = LossDetector()
    detector.lost("a/", "e", 3)
    told = [("e", {"a/": 3, "b/": 9}), ("e", {"a/": 5}), ("e", {"a/": 5, "b/": 9}), ("e", {"c/": 1}), ("f", {"a/": 7})]
    assert [detector.missing(*one, everything) for one in told] == [{}, {"a/": 2}, {}, {"c/": 1}, {}]
    assert detector.lost("b/", "e", 12) == 2  # what was told once counts as seen


def test_topics_that_nobody_follows_are_not_missed() -> None:
    detector = LossDetector()
    detector.missing("e", {}, everything)
    assert detector.missing("e", {"a/": 2, "b/x/": 2}, lambda topic: topic.startswith("b/")) == {"b/x/": 1}


def test_the_memory_of_publishers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MAX_FOLLOWED", 10)
    detector = LossDetector()
    for number in range(100):
        detector.missing(str(number), {}, everything)
    assert len(detector._publishers) == 10
