"""How many subscribers each topic prefix has, counted from the frames of an XPUB socket with XPUB_VERBOSER."""

from __future__ import annotations

from bus.topics import MAX_TOPIC

_SYNC = b"sync/"


class Readers:
    """Counts by exact prefix."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def heard(self, frame: bytes) -> bytes | None:
        """Take in one frame (1 or 0, then the prefix); returns the topic to answer on if it subscribes to `sync/`."""
        if not frame or frame[0] > 1 or len(frame) > MAX_TOPIC + 1:
            return None
        prefix, joins = frame[1:], frame[0] == 1
        if prefix.startswith(_SYNC):
            return prefix if joins else None
        count = self._counts.get(prefix, 0) + (1 if joins else -1)
        if count > 0:
            self._counts[prefix] = count
        else:
            self._counts.pop(prefix, None)
        return None

    def exact(self, topic: str) -> int:
        """Subscribers of exactly this prefix."""
        return self._counts.get(topic.encode(), 0)

    def covering(self, topic: str) -> int:
        """Subscriptions whose prefix this topic starts with."""
        encoded = topic.encode()
        return sum(count for prefix, count in self._counts.items() if encoded.startswith(prefix))
