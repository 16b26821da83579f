"""A CPU profile of one process, by the standard library's cProfile: of the thread that runs the loop."""

from __future__ import annotations

import cProfile
from collections.abc import Mapping
from typing import Any

from bus.errors import ConflictError
from bus.messages.debug import Profile, ProfileCaller, ProfileEntry

MAX_ENTRIES = 2_000
MAX_CALLERS = 100

Function = tuple[str, int, str]
"""File, line and name, as in the dictionary that `pstats` reads."""
Costs = tuple[int, int, float, float]
"""Primitive calls, calls, own and total seconds."""


class Profiler:
    """Runs from its making to `stop`."""

    def __init__(self, file: str) -> None:
        """`file` is only remembered; raises ConflictError if another tool profiles this process."""
        self._file = file
        self._profile = cProfile.Profile()
        try:
            self._profile.enable()
        except ValueError as error:  # since Python 3.12
            raise ConflictError(f"another tool profiles this process: {error}") from error

    def stop(self) -> Profile:
        """End the measurement; gives what was measured."""
        self._profile.create_stats()
        return Profile(file=self._file, entries=entries(self._profile.stats))


def entries(
    stats: Mapping[Function, tuple[int, int, float, float, Mapping[Function, Costs]]],
) -> tuple[ProfileEntry, ...]:
    """The dearest functions, and which of them called them."""
    dearest = sorted(stats.items(), key=lambda item: item[1][3], reverse=True)[:MAX_ENTRIES]
    index = {function: number for number, (function, _) in enumerate(dearest)}
    return tuple(_entry(function, found, index) for function, found in dearest)


def _entry(function: Function, found: tuple[Any, ...], index: Mapping[Function, int]) -> ProfileEntry:
    primitive, calls, own_s, total_s, callers = found
    known = [(index[caller], costs) for caller, costs in callers.items() if caller in index]
    known.sort(key=lambda item: item[1][3], reverse=True)
    return ProfileEntry(
        file=function[0],
        line=function[1],
        function=function[2],
        calls=calls,
        primitive_calls=primitive,
        own_s=own_s,
        total_s=total_s,
        callers=tuple(_caller(number, costs) for number, costs in known[:MAX_CALLERS]),
    )


def _caller(entry: int, costs: Costs) -> ProfileCaller:
    # cProfile has calls first here and primitive calls second, the other way round than in the entry itself; pstats
    # copies both as they are.
    calls, primitive, own_s, total_s = costs
    return ProfileCaller(entry=entry, calls=calls, primitive_calls=primitive, own_s=own_s, total_s=total_s)
