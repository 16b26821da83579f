"""Watches the descriptors of all consoles, and sees to it that they never take more than a share of the actor's time.

One epoll(7) for thousands of terminals, listeners and viewers. The kernel hands out what is ready in turn, so that a
guest which talks without end gets no more of the share than the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import time
from collections.abc import Callable

from bus.logs.logs import Log

SHARE = 0.25
"""Of the actor's time, for all consoles together."""
BURST_S = 0.02
"""How much of it may be used at once after a quiet time."""
RESUME_S = 0.001
"""How much of it must have come together before a rest ends."""
TURN_S = 0.001
"""After so long the rest of the actor gets its turn."""
EVENTS_AT_ONCE = 16

Callback = Callable[[int], None]
"""Gets the events, as in poll(2)."""


class Poller:
    """See the module. Descriptors are watched level-triggered."""

    def __init__(self, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll, self._turn)
        self._credit_s = BURST_S
        self._credited_s = clock()
        self._rest: asyncio.TimerHandle | None = None

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call back when something of `events` is so, or the other end is gone; changes what was watched before."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Stop watching; harmless when repeated. To be called before the descriptor is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._epoll)
        self._epoll.close()
        self._callbacks.clear()

    def _turn(self) -> None:
        begun_s = now_s = self._clock()
        self._credit_s = min(self._credit_s + (begun_s - self._credited_s) * SHARE, BURST_S)
        self._credited_s = begun_s
        while now_s - begun_s < TURN_S and (ready := self._epoll.poll(0, EVENTS_AT_ONCE)):
            for fd, events in ready:
                self._call(fd, events)
            now_s = self._clock()
        self._credit_s -= now_s - begun_s
        if self._credit_s < 0:
            self._loop.remove_reader(self._epoll)
            self._rest = self._loop.call_later((RESUME_S - self._credit_s) / SHARE, self._resume)

    def _resume(self) -> None:
        self._rest = None
        self._loop.add_reader(self._epoll, self._turn)

    def _call(self, fd: int, events: int) -> None:
        callback = self._callbacks.get(fd)
        if callback is None:
            return  # an earlier one of this turn has ended it
        try:
            callback(events)
        except Exception as error:
            self._log.exception("console_failed", error, fd=fd)
            with contextlib.suppress(OSError):
                self.unwatch(fd)  # else it would fail again at once, for ever
