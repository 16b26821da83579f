"""Notices lost events by the numbers that publishers give them. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

MAX_FOLLOWED = 65_536
"""Topics, and publishers, whose numbers are remembered."""


class LossDetector:
    """Notices jumps in the numbers of each topic of each publisher, and what is missing at the end of a topic."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._publishers: OrderedDict[str, None] = OrderedDict()
        """Epochs of publishers that have told their numbers before."""

    def lost(self, topic: str, epoch: str, topic_seq: int) -> int:
        """How many events of the topic are missing before this one; 0 for the first that is seen."""
        key = (epoch, topic)
        last = self._last.pop(key, topic_seq - 1)
        self._last[key] = topic_seq
        if len(self._last) > MAX_FOLLOWED:
            self._last.popitem(last=False)
        return max(topic_seq - last - 1, 0)

    def missing(self, epoch: str, told: Mapping[str, int], follows: Callable[[str], bool]) -> dict[str, int]:
        """Topic to how many of its last events are missing, by the last numbers that a publisher tells.

        It tells them of each topic that it used since it told the time before. So one that was never seen was used
        before the subscription began, or, from the second time on, at least one event of it is missing.
        """
        is_known = self._publishers.pop(epoch, self) is None
        self._publishers[epoch] = None
        if len(self._publishers) > MAX_FOLLOWED:
            self._publishers.popitem(last=False)
        found: dict[str, int] = {}
        for topic in filter(follows, told):
            seen = self._last.get((epoch, topic))
            self.lost(topic, epoch, told[topic])
            missing = told[topic] - seen if seen is not None else int(is_known)
            if missing > 0:
                found[topic] = missing
        return found
