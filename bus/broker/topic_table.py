"""What passes on each topic, as the broker sees it. However many topics somebody makes, the table stays small."""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable

from bus.messages.control import TopicInfo, TopicList

MAX_TOPICS = 10_000
"""The one that was silent longest makes room."""
MAX_PUBLISHERS = 4
"""Remembered of each topic."""
MAX_SENDER = 130
"""Characters: two parts of an address."""
PAGE = 500
"""Topics in one answer: counting the readers of each takes a while."""
LOOK_S = 1.0
"""How often it is looked who publishes on a topic; that takes longer than all else here."""


class _Seen:
    __slots__ = ("count", "last_s", "look_s", "publishers", "size_bytes")

    def __init__(self) -> None:
        self.count = 0
        self.size_bytes = 0
        self.last_s = 0.0
        self.look_s = 0.0
        self.publishers: tuple[str, ...] = ()


class TopicTable:
    """See the module."""

    def __init__(self, capacity: int = MAX_TOPICS) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._since_s = time.time()
        self._forgotten = 0

    def passed(self, topic: bytes, size_bytes: int, sender: Callable[[], str]) -> None:
        """Count one event, unless its topic is no text; `sender` is called now and then only."""
        seen = self._seen.get(topic)
        if seen is None:
            if not _is_text(topic):
                return
            seen = self._seen[topic] = _Seen()
            if len(self._seen) > self._capacity:
                self._seen.popitem(last=False)
                self._forgotten += 1
        else:
            self._seen.move_to_end(topic)
        seen.count += 1
        seen.size_bytes += size_bytes
        seen.last_s = now_s = time.time()
        if abs(now_s - seen.look_s) >= LOOK_S:
            seen.look_s = now_s
            self._look(seen, sender()[:MAX_SENDER])

    def _look(self, seen: _Seen, name: str) -> None:
        if name not in seen.publishers and len(seen.publishers) < MAX_PUBLISHERS:
            seen.publishers = (*seen.publishers, name)

    def listed(self, prefix: str, after: str, readers: Callable[[str], int]) -> TopicList:
        """One page of the topics with this prefix; `readers` tells how many a topic has."""
        start, behind = prefix.encode(), after.encode()
        found = [topic for topic in self._seen if topic.startswith(start) and topic > behind]
        page = heapq.nsmallest(PAGE, found)
        return TopicList(
            topics=tuple(self._info(topic, readers) for topic in page),
            more=len(found) > len(page),
            since_s=self._since_s,
            forgotten=self._forgotten,
        )

    def _info(self, topic: bytes, readers: Callable[[str], int]) -> TopicInfo:
        seen = self._seen[topic]
        text = topic.decode()
        return TopicInfo(
            topic=text,
            count=seen.count,
            size_bytes=seen.size_bytes,
            last_s=seen.last_s,
            publishers=seen.publishers,
            readers=readers(text),
        )


def _is_text(topic: bytes) -> bool:
    try:
        topic.decode()
    except UnicodeDecodeError:
        return False
    return True
