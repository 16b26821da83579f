"""Resource use of containers over a window, from psutil and the cgroup's list of processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bus.messages.guest import GuestSample
from shims.cgroups import cgroup

MAX_PROCESSES = 100
"""Processes looked at per container."""

ProcessFigures = tuple[int, int, int, float]
"""Virtual, resident and shared bytes, and CPU seconds."""
Snapshot = dict[int, ProcessFigures]


async def measure(tag: str, guest_ids: Sequence[int], window_s: float) -> tuple[GuestSample, ...]:
    """Two snapshots `window_s` apart; containers whose processes cannot be read are left out."""
    begun = time.monotonic()
    before = await asyncio.to_thread(_snapshots, tag, guest_ids)
    await asyncio.sleep(max(0.0, window_s))
    after = await asyncio.to_thread(_snapshots, tag, guest_ids)
    elapsed_s = max(time.monotonic() - begun, 1e-6)
    return tuple(
        sample(guest_id, before.get(guest_id, {}), after[guest_id], elapsed_s)
        for guest_id in guest_ids
        if after.get(guest_id)
    )


def sample(guest_id: int, before: Snapshot, after: Snapshot, elapsed_s: float) -> GuestSample:
    """One guest's figures from its two snapshots; only processes in both count for the CPU share."""
    busy_s = sum(after[pid][3] - before[pid][3] for pid in before.keys() & after.keys())
    return GuestSample(
        vm_id=guest_id,
        virt_bytes=sum(figures[0] for figures in after.values()),
        res_bytes=sum(figures[1] for figures in after.values()),
        shr_bytes=sum(figures[2] for figures in after.values()),
        cpu_percent=100.0 * busy_s / elapsed_s,
        vcpu_percent=0.0,
        time_s=sum(figures[3] for figures in after.values()),
        processes=len(after),
    )


def _snapshots(tag: str, guest_ids: Sequence[int]) -> dict[int, Snapshot]:
    return {guest_id: _snapshot(tag, guest_id) for guest_id in guest_ids}


def _snapshot(tag: str, guest_id: int) -> Snapshot:
    import psutil

    figures: Snapshot = {}
    for pid in cgroup.pids(tag, guest_id)[:MAX_PROCESSES]:
        try:
            process = psutil.Process(pid)
            memory, times = process.memory_info(), process.cpu_times()
        except (psutil.Error, OSError):
            continue
        figures[pid] = (memory.vms, memory.rss, memory.shared, times.user + times.system)
    return figures
