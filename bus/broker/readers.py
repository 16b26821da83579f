"""How many subscribers each topic prefix has, counted from the frames of an XPUB socket with XPUB_VERBOSER."""

from __future__ import annotations

from collections import Counter

from bus.topics import MAX_TOPIC

_SYNC = b"sync/"


class Readers:
    """Counts by exact prefix."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._lengths: Counter[int] = Counter()
        """How many prefixes there are of each length."""

    def heard(self, frame: bytes) -> bytes | None:
        """Take in one frame (1 or 0, then the prefix); returns the topic to answer on if it subscribes to `sync/`."""
        if not frame or frame[0] > 1 or len(frame) > MAX_TOPIC + 1:
            return None
        prefix, joins = frame[1:], frame[0] == 1
        if prefix.startswith(_SYNC):
            return prefix if joins else None
        before = self._counts.get(prefix, 0)
        count = before + (1 if joins else -1)
        if count > 0:
            self._counts[prefix] = count
            self._lengths[len(prefix)] += before == 0
        elif before:
            del self._counts[prefix]
            self._lengths[len(prefix)] -= 1
        self._lengths += Counter()  # drops those that are 0
        return None

    def exact(self, topic: str) -> int:
        """Subscribers of exactly this prefix."""
        return self._counts.get(topic.encode(), 0)

    def covering(self, topic: str) -> int:
        """Subscriptions whose prefix this topic starts with."""
        encoded = topic.encode()
        return sum(self._counts.get(encoded[:length], 0) for length in self._lengths if length <= len(encoded))
