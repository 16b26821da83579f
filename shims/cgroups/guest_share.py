"""What all guests of a host together may use at most, so that the host and its actors go on whatever guests do.

Each guest has limits of its own, but their sum may well be more than the host has. These shares bound the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEMORY_KEPT_MIN: Final = 256 << 20
"""Bytes that a host keeps for itself, unless that were more than half of what it has."""

_SYS_KERNEL: Final = Path("/proc/sys/kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestShare:
    """Upper bounds for the sum over all guests."""

    processes: int
    """Threads count as well (pids controller)."""
    memory_bytes: int


def share_of(*, pid_max: int, threads_max: int, memory_bytes: int) -> GuestShare:
    """Three quarters of the process numbers, and all memory but a tenth, of which the host keeps 256 MiB at least."""
    kept = min(max(memory_bytes // 10, MEMORY_KEPT_MIN), memory_bytes // 2)
    # In whole MiB: the kernel counts in pages and reads back what it has rounded.
    return GuestShare(
        processes=max(min(pid_max, threads_max) * 3 // 4, 1), memory_bytes=(memory_bytes - kept) >> 20 << 20
    )


def read_share() -> GuestShare:
    """The share on this host, from /proc (proc(5)); raises OSError."""
    memory_kib = next(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")
    )
    return share_of(
        pid_max=int((_SYS_KERNEL / "pid_max").read_text()),
        threads_max=int((_SYS_KERNEL / "threads-max").read_text()),
        memory_bytes=memory_kib << 10,
    )
