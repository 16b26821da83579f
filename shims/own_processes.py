"""Finding and ending the processes of one base directory by what the kernel knows of them, never by their names."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

from bus.lock import holder
from shims.linux.process import start_ticks


def locks(run: Path) -> list[Path]:
    """The lock files in a directory; none if it is a symbolic link or is not there."""
    if file_type(run) != stat.S_IFDIR:
        return []
    return [run / name for name in os.listdir(run) if name.endswith(".lock") and file_type(run / name) == stat.S_IFREG]


def lock_owner(lock: Path) -> int:
    """The process that wrote itself into a lock that is held, if it still has it open; otherwise 0."""
    pid = holder(lock)
    return pid if pid not in (0, os.getpid()) and has_open(pid, lock) else 0


def end_lock_owner(lock: Path) -> bool:
    """Kill it; says whether there was one."""
    pid = lock_owner(lock)
    return bool(pid) and kill(pid, lambda: has_open(pid, lock))


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has this file open."""
    with contextlib.suppress(OSError):
        wanted = path.stat()
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if os.path.samestat(entry.stat(), wanted):
                        return True
    return False


def children(parent: int) -> dict[int, int]:
    """The children of a process, with the clock ticks at which they were started."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{name}/stat").read_text(errors="replace")
            if int(text.rpartition(")")[2].split()[1]) == parent:
                found[int(name)] = start_ticks(int(name))
    return found


def end_started(pid: int, ticks: int) -> bool:
    """Kill the process that had `pid` since `ticks`; says whether it was still there."""
    return kill(pid, lambda: start_ticks(pid) == ticks)


def members(directory: str) -> list[int]:
    """The processes of a control group that this PID namespace sees."""
    with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as file:
        return [pid for line in file if (pid := int(line)) > 0]
    return []


def end_member(pid: int, directory: str) -> bool:
    """Kill a process of a control group; says whether it was still in there."""
    return pid != os.getpid() and kill(pid, lambda: pid in members(directory))


def kill(pid: int, is_ours: Callable[[], bool]) -> bool:
    """SIGKILL a process, if what made it ours still holds once the pid can no longer become another one's."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_ours():
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)


def file_type(path: Path) -> int:
    """The type of a file as in its mode, of a symbolic link its own; 0 if there is none."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return 0
