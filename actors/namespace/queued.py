"""What is in the queue of a namespace, looked up at once however long it is. Pure; not part of the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bus.messages.namespace import Batch

MAX_QUEUED: Final = 20_000
"""VMs in the queue of a namespace: each list of them, and each plan, takes as long."""
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""Of their configurations, each counted once a command: they are in every snapshot and every list."""


class Queued:
    """Names, UUIDs and sizes of the batches of a queue, which grows at its end or becomes another list."""

    def __init__(self, queue: Sequence[Batch]) -> None:
        self.names: set[str] = set()
        self.uuids: set[str] = set()
        self.count = 0
        self.size_bytes = 0
        self._queue = queue
        self._seen = 0

    def follows(self, queue: Sequence[Batch]) -> bool:
        """Whether this is about that queue; what has been added to it is taken in."""
        if queue is not self._queue or len(queue) < self._seen:
            return False
        for batch in queue[self._seen :]:
            self.names.update(batch.names)
            self.uuids.add(batch.config.uuid)
            self.count += len(batch.names)
            self.size_bytes += size_of(batch)
        self._seen = len(queue)
        return True

    def overflow(self, batch: Batch) -> str:
        """Why one more batch has no room; empty if it has."""
        ways = "`vm launch` them, or `ns flush`"
        if self.count + len(batch.names) > MAX_QUEUED:
            return f"{self.count} VMs are queued already, at most {MAX_QUEUED} can be: {ways}"
        if self.size_bytes + size_of(batch) > MAX_QUEUED_BYTES:
            mib = MAX_QUEUED_BYTES >> 20
            return f"the configurations of the {self.count} VMs that are queued take {mib} MiB already: {ways}"
        return ""


def size_of(batch: Batch) -> int:
    """Bytes of its configuration."""
    return len(msgspec.msgpack.encode(batch.config))
