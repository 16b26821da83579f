"""Processes as others see them: how they start apart and end, and figures about them from the kernel."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

REAPED_S = 3.0
MAX_KERNEL_TEXT = 16 * 1024


class Figures(NamedTuple):
    """What the kernel says about a process."""

    uptime_s: float
    cpu_s: float
    threads: int
    rss_bytes: int
    fds: int
    pss_bytes: int = 0
    private_bytes: int = 0


def figures(pid: int, *, with_pss: bool = False) -> Figures | None:
    """Figures about a process; None if it is gone or may not be read. Those of shared memory take milliseconds more."""
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            found = Figures(
                uptime_s=max(0.0, time.time() - process.create_time()),
                cpu_s=times.user + times.system,
                threads=process.num_threads(),
                rss_bytes=process.memory_info().rss,
                fds=process.num_fds(),
            )
        if not with_pss:
            return found
        memory = process.memory_full_info()
        return found._replace(pss_bytes=memory.pss, private_bytes=memory.uss)
    except (psutil.Error, OSError):
        return None


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped a process, as SIGSTOP does."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(") ")[2][:1] == "T"


def kernel_stacks(pid: int) -> str:
    """Where the threads of a process are in the kernel (proc(5): stat, wchan, stack); empty if it is gone."""
    text = ""
    for thread in sorted(Path(f"/proc/{pid}/task").glob("*")):
        name, _, rest = _read(thread / "stat").partition("(")[2].rpartition(") ")
        state = rest[:1] or "?"
        waits_in = _read(thread / "wchan").strip("0\n") or "nothing"
        text += f"thread {thread.name} ({name}): state {state}, waits in {waits_in}\n{_read(thread / 'stack')}"
    return text


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_KERNEL_TEXT)
    except OSError:
        return ""  # it ended meanwhile, or this kernel does not tell


def pss_mib(pid: int) -> float:
    """Proportional set size in MiB (smaps_rollup, proc(5)); 0.0 if the process is gone or may not be read."""
    import psutil

    try:
        return round(psutil.Process(pid).memory_full_info().pss / (1024 * 1024), 1)
    except (psutil.Error, OSError):
        return 0.0


def wait_for_end(pidfd: int, timeout_s: float) -> None:
    """Return when the process has ended, or in vain after that time. Not by select(2), which takes 1,024 of them."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(timeout_s * 1000)


def reap_soon(pid: int) -> None:
    """Reap a child that has closed its lane, the last thing it does; waits no longer than that takes."""
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        wait_for_end(pidfd, REAPED_S)
        os.close(pidfd)
        os.waitpid(pid, os.WNOHANG)


def describe_status(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def start_apart(module: str, argument: str) -> dict[str, str]:
    """Start a program of ours that is to outlive this process; gives the `error` if that fails."""
    # -P: whatever lies in the current directory is not ours to import.
    argv = [sys.executable, "-P", "-m", module, argument]
    try:
        os.posix_spawn(argv[0], argv, os.environ, setsid=True)
    except OSError as error:
        return {"error": f"cannot start {module}: {error.strerror}"}
    return {}
