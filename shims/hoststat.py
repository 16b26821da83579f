"""How busy the host is."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import psutil

MIB = 1024 * 1024


class HostStat(NamedTuple):
    """Figures of one moment."""

    cpus: int
    """That this process may use."""
    load: tuple[float, float, float]
    """Over 1, 5 and 15 minutes."""
    mem_total_mib: int
    mem_used_mib: int
    """All that is not available without swapping."""
    uptime_s: float


def read() -> HostStat:
    """Read them."""
    memory = psutil.virtual_memory()
    return HostStat(
        cpus=len(os.sched_getaffinity(0)),
        load=os.getloadavg(),
        mem_total_mib=memory.total // MIB,
        mem_used_mib=(memory.total - memory.available) // MIB,
        uptime_s=max(time.time() - psutil.boot_time(), 0.0),
    )
