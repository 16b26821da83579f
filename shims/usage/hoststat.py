"""How busy the host is."""

from __future__ import annotations

import os
import time
from pathlib import Path
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


class HostFigures(NamedTuple):
    """For who watches the machine over time."""

    cpus: int
    load1: float
    memory_total_bytes: int
    memory_available_bytes: int
    boot_time_s: float
    cpu_s: dict[str, float]
    """Processor time by mode: user, system, idle and others."""
    free_bytes: int
    """Where a directory is."""
    free_inodes: int


def figures(directory: Path) -> HostFigures:
    """Read them; raises OSError if the directory is not there."""
    memory = psutil.virtual_memory()
    room = os.statvfs(directory)
    return HostFigures(
        cpus=len(os.sched_getaffinity(0)),
        load1=os.getloadavg()[0],
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        boot_time_s=psutil.boot_time(),
        cpu_s=psutil.cpu_times()._asdict(),
        free_bytes=room.f_bavail * room.f_frsize,
        free_inodes=room.f_favail,
    )


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
