"""Numbers of a publisher's events on each of its topics, by which a subscriber sees a loss."""

from __future__ import annotations

from collections import OrderedDict

MAX_TOPICS = 65_536
"""Topics whose numbers are kept; the least used is forgotten and would begin again at 1."""


class TopicNumbers:
    """Counts from 1 on each exact topic."""

    def __init__(self, capacity: int = MAX_TOPICS) -> None:
        self._capacity = capacity
        self._last: OrderedDict[str, int] = OrderedDict()
        self._fresh: set[str] = set()

    def next(self, topic: str) -> int:
        """The number of the event that is about to be published on this topic."""
        number = self._last.pop(topic, 0) + 1
        self._last[topic] = number
        self._fresh.add(topic)
        if len(self._last) > self._capacity:
            self._fresh.discard(self._last.popitem(last=False)[0])
        return number

    def take_fresh(self) -> dict[str, int]:
        """The last numbers of the topics used since the last call."""
        taken = {topic: self._last[topic] for topic in self._fresh}
        self._fresh.clear()
        return taken
