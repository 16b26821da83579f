"""The resource limits (getrlimit(2)) that containers start with.

The guests' user namespace maps every id to itself and is root's: what the kernel counts by user it counts for all
containers and the host together. Of that, containers get less than the host has, so that they can use up their part but
never what the host's own root needs; `net_maker` sets the same for all of them together, under whichever numbers their
users go. Hard limits, because no container can raise them again.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

Limit = tuple[int, int, int]
"""Resource, soft limit, hard limit."""

_SHARED: Final = (resource.RLIMIT_SIGPENDING, resource.RLIMIT_MSGQUEUE)
"""Counted by user: signals in queues, which timers need as well, and POSIX message queues."""
_REAL_TIME: Final = (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE)
"""They would allow a container to take a processor from everybody else."""
_NO_CORE_AT_ALL: Final = 1
"""Other small values do not keep the kernel from starting the program that a core pattern names (core(5))."""


def limits_inside(
    descriptors: tuple[int, int] | None,
    core_pattern: str,
    limit_of: Callable[[int], tuple[int, int]] = resource.getrlimit,
) -> tuple[Limit, ...]:
    """What differs inside from the limits of this process, which are given by `limit_of`.

    `descriptors` are the soft and the hard limit of open files that this process had before it raised its own.
    """
    found: list[Limit] = [] if descriptors is None else [(resource.RLIMIT_NOFILE, *descriptors)]
    for which in _SHARED:
        soft, hard = limit_of(which)
        if hard != resource.RLIM_INFINITY:
            found.append((which, min(soft, hard // 2), hard // 2))
    found += [(which, 0, 0) for which in _REAL_TIME if limit_of(which) != (0, 0)]
    # A program for core dumps runs on the host as root, once for every crash; and a path of the host is written to.
    if core_pattern.startswith(("|", "/")):
        found.append((resource.RLIMIT_CORE, _NO_CORE_AT_ALL, _NO_CORE_AT_ALL))
    return tuple(found)


def read_core_pattern() -> str:
    """What the host does with core dumps (core(5)); empty if that cannot be read."""
    try:
        return Path("/proc/sys/kernel/core_pattern").read_text().strip()
    except OSError:
        return ""
