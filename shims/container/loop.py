"""A small event loop: descriptors by epoll(7) and timers. No threads, no coroutines, nothing to import."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

EPOLLIN = select.EPOLLIN
EPOLLOUT = select.EPOLLOUT


class Timer:
    """A call in the future; `cancel` it or let it happen."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """The call will not be made; harmless when repeated."""
        self.callback = None


class Loop:
    """Calls back when a descriptor is ready or a time has come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def watch(self, fd: int, callback: Callable[[int], None], events: int = EPOLLIN) -> None:
        """Call `callback(events)` whenever `fd` is ready; a call too many is possible, so reads must not block."""
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Watch `fd` for other events."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` once, `delay_s` from now."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def run_once(self) -> None:
        """Wait for the next event or timer and make the calls that are due."""
        for fd, events in self._epoll.poll(self._patience_s()):
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback(events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()

    def close(self) -> None:
        """Forget everything; the watched descriptors stay open."""
        self._epoll.close()

    def _patience_s(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0
