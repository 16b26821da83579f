"""One thread, one poll(2): descriptors, timers, ended children. Nothing wakes up without a reason."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable, Sequence

Call = Callable[[], None]

LONGEST_SLEEP_S = 5.0
"""While there are timers, so that a time in which the guest was frozen is seen as such."""
FROZEN_AFTER_S = 2.0
"""Woken up so much later than asked for, the guest was frozen."""


class RunningClock:
    """Seconds that this guest has run. What passes while it is frozen does not count, so no deadline falls then."""

    def __init__(self, now_s: float) -> None:
        self.running_s = 0.0
        self._last_s = now_s

    def advance(self, now_s: float, asked_s: float | None) -> None:
        """It is `now_s` after a sleep of at most `asked_s`."""
        passed_s = now_s - self._last_s
        self._last_s = now_s
        if asked_s is not None and passed_s > asked_s + FROZEN_AFTER_S:
            passed_s = asked_s
        self.running_s += max(0.0, passed_s)


class Timer:
    """A call that is due at some time; `cancel` takes it back, however often."""

    __slots__ = ("call", "due_s")

    def __init__(self, due_s: float, call: Call) -> None:
        self.due_s = due_s
        self.call: Call | None = call

    def cancel(self) -> None:
        """It will not be called."""
        self.call = None


class Loop:
    """Calls back who waits for something. `report` is told of a call that raised; the loop goes on."""

    def __init__(self, report: Callable[[Exception], None]) -> None:
        self._report = report
        self._poll = select.poll()
        self._readers: dict[int, Call] = {}
        self._writers: dict[int, Call] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._clock = RunningClock(time.monotonic())
        self._stopped = False

    @property
    def now_s(self) -> float:
        """Of the clock that timers go by."""
        return self._clock.running_s

    def on_readable(self, fd: int, call: Call | None) -> None:
        """Call when `fd` can be read or has hung up; None for no more."""
        self._set(self._readers, fd, call)

    def on_writable(self, fd: int, call: Call | None) -> None:
        """Call when `fd` takes bytes or is broken; None for no more."""
        self._set(self._writers, fd, call)

    def forget(self, fd: int) -> None:
        """To be said before `fd` is closed."""
        self._set(self._readers, fd, None)
        self._set(self._writers, fd, None)

    def _set(self, calls: dict[int, Call], fd: int, call: Call | None) -> None:
        if call is None:
            if calls.pop(fd, None) is None:
                return
        else:
            calls[fd] = call
        wanted = (select.POLLIN if fd in self._readers else 0) | (select.POLLOUT if fd in self._writers else 0)
        if wanted:
            self._poll.register(fd, wanted)
        else:
            self._poll.unregister(fd)  # else a hang-up would be told for ever

    def call_later(self, delay_s: float, call: Call) -> Timer:
        """Call once, `delay_s` of running time from now."""
        timer = Timer(self.now_s + delay_s, call)
        heapq.heappush(self._timers, (timer.due_s, next(self._order), timer))
        return timer

    def on_signals(self, numbers: Sequence[int], call: Callable[[int], None]) -> None:
        """Call with the number of each signal that comes; to be asked for once."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

        def arrived() -> None:
            for number in set(os.read(reading, 4096)):
                call(number)

        self.on_readable(reading, arrived)

    def stop(self) -> None:
        """End `run` after this turn."""
        self._stopped = True

    def run(self) -> None:
        """Until somebody says `stop`."""
        while not self._stopped:
            self.turn()

    def turn(self, most_s: float | None = None) -> None:
        """Sleep until something happens, at most `most_s`, and make the calls that are due."""
        asked_s = self._sleep_s()
        if most_s is not None:
            asked_s = most_s if asked_s is None else min(asked_s, most_s)
        events = self._poll.poll(None if asked_s is None else asked_s * 1000)
        self._clock.advance(time.monotonic(), asked_s)
        for fd, what in events:
            self._happened(fd, what)
        while self._timers and self._timers[0][0] <= self.now_s:
            self._call(heapq.heappop(self._timers)[2].call)

    def _sleep_s(self) -> float | None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(LONGEST_SLEEP_S, max(0.0, self._timers[0][0] - self.now_s))

    def _happened(self, fd: int, what: int) -> None:
        if what & select.POLLNVAL:
            self.forget(fd)
            return
        bad = what & (select.POLLHUP | select.POLLERR)
        if what & select.POLLIN or bad:
            self._call(self._readers.get(fd))
        if what & select.POLLOUT or bad:
            self._call(self._writers.get(fd))

    def _call(self, call: Call | None) -> None:
        if call is None:
            return
        try:
            call()
        except Exception as error:  # whatever goes wrong with one thing, the agent goes on with the others
            self._report(error)
