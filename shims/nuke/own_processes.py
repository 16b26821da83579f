"""Finding and ending the processes of one base directory by what the kernel knows of them, never by their names."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

from shims.linux.process import start_ticks
from shims.programs import process_tree

DELETED = " (deleted)"


def lock_holders(run: Path) -> dict[str, set[int]]:
    """Who holds a lock of a directory, by the name of its file; also where the file has been removed meanwhile.

    The kernel tells (proc_pid_fdinfo(5)); what is written in the files is not believed.
    """
    found: dict[str, set[int]] = {}
    for pid in process_tree.all_pids():
        for name in _locks_of(pid, run):
            found.setdefault(name, set()).add(pid)
    for holders in found.values():
        holders.discard(os.getpid())
    return found


def end_lock_holder(pid: int, run: Path) -> bool:
    """Kill a process that holds a lock of a directory; says whether it did."""
    return kill(pid, lambda: bool(_locks_of(pid, run)))


def lock_name(target: str, run: Path) -> str:
    """The name of a lock file of the directory, from what an open descriptor is linked to; empty if it is another."""
    parent, _, name = target.removesuffix(DELETED).rpartition("/")
    return name if parent == str(run) and name.endswith(".lock") else ""


def _locks_of(pid: int, run: Path) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):  # it ended meanwhile
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                name = lock_name(os.readlink(f"/proc/{pid}/fd/{fd}"), run)
                if name and _is_locked(Path(f"/proc/{pid}/fdinfo/{fd}").read_text(errors="replace")):
                    found.add(name)
    return found


def _is_locked(fdinfo: str) -> bool:
    """Whether a descriptor holds a lock for itself; one that only looks takes a shared one for a moment."""
    words = (line.split() for line in fdinfo.splitlines() if line.startswith("lock:"))
    return any("FLOCK" in line and "WRITE" in line for line in words)


def children(parent: int) -> dict[int, int]:
    """The children of a process, with the clock ticks at which they were started."""
    found = {}
    for pid in process_tree.all_pids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            if int(text.rpartition(")")[2].split()[1]) == parent:
                found[pid] = start_ticks(pid)
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
