"""How much memory processes take, which the kernel is asked beside the loop and never waited for without end.

It walks through all pages of a process for that (proc(5): smaps_rollup), and may have to wait for somebody who changes
its memory just then. A thread that waits so cannot be ended: there is one at a time, and it keeps nobody from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from bus.processes import pss_mib

PATIENCE_S = 2.0


class Sizes:
    """Looks at processes."""

    def __init__(self, look: Callable[[int], float] = pss_mib, patience_s: float = PATIENCE_S) -> None:
        """`look` gives MiB by pid."""
        self._look = look
        self._patience_s = patience_s
        self._thread: threading.Thread | None = None

    async def of(self, pids: Sequence[int]) -> dict[int, float]:
        """MiB by pid; of some or all nothing if the kernel does not say it in time."""
        found: dict[int, float] = {}
        if self._thread is not None and self._thread.is_alive():
            return found
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def look() -> None:
            for pid in pids:
                found[pid] = self._look(pid)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

        self._thread = threading.Thread(target=look, name="sizes", daemon=True)
        self._thread.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await done.wait()
        return dict(found)
