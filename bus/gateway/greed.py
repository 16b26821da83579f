"""Which clients make the gateway hold the most: they send without an end, or do not read. Pure.

libzmq bounds queues by messages, and messages may be large. How many bytes it holds for a connection it does not tell,
but the kernel says what the other side has received.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Traffic(NamedTuple):
    """What the kernel knows of one connection (tcp(7), `TCP_INFO`), and what it was given."""

    received_bytes: int
    acked_bytes: int
    """So much the other side has received."""
    unsent_bytes: int
    """So much waits in the kernel: none, or libzmq may hold more."""
    offered_bytes: int
    """So much was given to libzmq for it, at most."""


class Greed:
    """What each connection sent lately, and how far it is behind."""

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        """Bytes since the look before."""
        self.behind: dict[int, int] = {}
        """Bytes that it did not take since the last look at which nothing waited for it; at most."""
        self._last: dict[int, Traffic] = {}
        self._caught_up: dict[int, Traffic] = {}

    def look(self, now: Mapping[int, Traffic]) -> None:
        """Take in how things are, by descriptor."""
        self.sent = {fd: one.received_bytes - self._before(fd, one).received_bytes for fd, one in now.items()}
        self._caught_up = {fd: self._start(fd, one) for fd, one in now.items()}
        self.behind = {
            fd: (one.offered_bytes - start.offered_bytes) - (one.acked_bytes - start.acked_bytes)
            for fd, one in now.items()
            if (start := self._caught_up[fd]) is not one
        }
        self._last = dict(now)

    def _before(self, fd: int, one: Traffic) -> Traffic:
        last = self._last.get(fd)
        if last is None or last.received_bytes > one.received_bytes or last.acked_bytes > one.acked_bytes:
            return one  # the number is another connection's now
        return last

    def _start(self, fd: int, one: Traffic) -> Traffic:
        if not one.unsent_bytes or self._before(fd, one) is one:
            return one
        return self._caught_up[fd]
