"""The figures that processes publish once a second; the last of each that is not too old. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bus.messages.base import Message
from bus.messages.control import ActorStatus, NodeStats, Stats
from bus.messages.vm import VmCount
from bus.processes import Figures
from shims.usage.hoststat import HostFigures

STALE_S = 10.0
"""After that a process is taken to be silent, and nothing is told of it."""
MAX_ACTORS = 64
"""More names than there are kinds of actors; anybody on the bus could make up some."""

MAX_NAME = 64
"""Characters; no address has more."""


class Snapshot(NamedTuple):
    """All that is exported."""

    processes: tuple[ActorStatus, ...] = ()
    figures: Mapping[str, Figures] = {}
    """By name of the process."""
    stats: Mapping[str, Stats] = {}
    """By actor."""
    vms: tuple[VmCount, ...] | None = None
    """None if `vm` did not answer."""
    host: HostFigures | None = None


class Board:
    """See the module. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self._stats: dict[str, tuple[float, Stats]] = {}
        self._processes: tuple[float, tuple[ActorStatus, ...]] = (float("-inf"), ())

    def take(self, event: Message, now_s: float) -> None:
        """Keep an event, if it is one of those."""
        match event:
            case NodeStats(processes=processes):
                self._processes = (now_s, processes[:MAX_ACTORS])
            case Stats(actor=actor) if actor in self._stats or (
                len(self._stats) < MAX_ACTORS and len(actor) <= MAX_NAME
            ):
                self._stats[actor] = (now_s, event)
            case _:
                pass

    def stats(self, now_s: float) -> dict[str, Stats]:
        """By actor."""
        self._stats = {name: kept for name, kept in self._stats.items() if now_s - kept[0] < STALE_S}
        return {name: event for name, (_, event) in sorted(self._stats.items())}

    def processes(self, now_s: float) -> tuple[ActorStatus, ...]:
        """Of the node."""
        heard_s, processes = self._processes
        return processes if now_s - heard_s < STALE_S else ()
