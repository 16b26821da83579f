"""How a process is, once a second: what it did, how long that took, what it uses."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from bus.actor.inputs import Inputs
from bus.messages.control import Stats

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Vitals:
    """Of one process."""

    def __init__(self, actor: str, inputs: Inputs, inbox: Callable[[], int]) -> None:
        self._actor = actor
        self._inputs = inputs
        self._inbox = inbox
        self._lag_s = 0.0

    async def pause(self, seconds: float) -> None:
        """Sleep, and see how much later than it should it ends."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + seconds
        await asyncio.sleep(seconds)
        self._lag_s = max(self._lag_s, loop.time() - due_s)

    def stats(self, *, seq: int, topics: dict[str, int], counters: dict[str, int]) -> Stats:
        """The event of this second."""
        lag_s, self._lag_s = self._lag_s, 0.0
        inbox = self._inbox()
        return Stats(
            actor=self._actor,
            seq=seq,
            topics=topics,
            counters={**counters, "inbox": inbox},
            inbox=inbox,
            answers=dict(self._inputs.outcomes),
            handling=self._inputs.handling.latency(),
            queueing=self._inputs.queueing.latency(),
            lag_s=round(lag_s, 6),
            cpu_s=round(time.process_time(), 6),
            rss_bytes=rss_bytes(),
        )


def rss_bytes() -> int:
    """Memory of this process that is in use (statm, proc(5)); 0 without /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
