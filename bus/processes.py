"""Figures about processes, from psutil."""

from __future__ import annotations


def pss_mib(pid: int) -> float:
    """Proportional set size in MiB (smaps_rollup, proc(5)); 0.0 if the process is gone or may not be read."""
    import psutil

    try:
        return round(psutil.Process(pid).memory_full_info().pss / (1024 * 1024), 1)
    except (psutil.Error, OSError):
        return 0.0
