"""All processes of a job, however they were made, and their end.

A job's program leads a session, and its environment carries a mark. A child that leaves the session keeps the mark; one
that overwrites its environment stays in the session. Who does both has gone out of its way not to be found.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

MARK: Final = "MINIBUS_JOB"
"""Environment variable of every job: the tag of the base directory, the number of the job, and a random word."""
MAX_ENVIRONMENT: Final = 512 * 1024
"""Bytes in which the mark is looked for."""
ROUNDS_S: Final = 3.0
"""How long SIGKILL is repeated: a process that forks meanwhile is caught in the next round."""
ROUND_S: Final = 0.2
LOOKS: Final = 3
BETWEEN_LOOKS_S: Final = 0.01


class Tree(NamedTuple):
    """What names the processes of one job."""

    mark: str
    """Empty: only the session counts."""
    pid: int = 0
    """Of its program, which is also the number of its session; 0 once it has ended, and only the mark is certain."""
    ticks: int = 0
    """When the program started: see `shims.linux.process.start_ticks`."""


class Ending(NamedTuple):
    """What came of ending some jobs."""

    found: int
    """Processes that were there to be ended."""
    left: tuple[int, ...]
    """Those that the kernel itself does not let go."""


class _Stat(NamedTuple):
    state: str
    session: int
    ticks: int


def all_pids() -> Iterator[int]:
    """The processes of this machine, as /proc lists them (proc(5)); each may have ended by now."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            yield int(name)


def members(trees: Iterable[Tree]) -> list[int]:
    """The living processes of these jobs, zombies left out."""
    trees = tuple(trees)
    marks = [f"\0{MARK}={tree.mark}\0".encode() for tree in trees if tree.mark]
    sessions = {tree.pid for tree in trees if tree.pid and _is_own_session(tree)}
    found = []
    for pid in all_pids():
        stat = _stat(pid)
        if stat is None or stat.state in "ZX":
            continue
        if stat.session in sessions or (marks and _carries(pid, marks)):
            found.append(pid)
    return found


def marked(prefix: str) -> list[int]:
    """The living processes whose mark begins so: with a tag and a dash, those of all jobs of a base directory."""
    wanted = [f"\0{MARK}={prefix}".encode()]
    return [pid for pid in all_pids() if _carries(pid, wanted)]


def find_leader(mark: str) -> int:
    """The job's program by its mark alone: the process that leads its session; 0 if there is none. May block 20 ms."""
    for found in _looks([Tree(mark)]):
        for pid in found:
            stat = _stat(pid)
            if stat is not None and stat.session == pid:
                return pid
    return 0


def end(trees: Sequence[Tree], grace_s: float) -> Ending:
    """End all processes of these jobs: SIGTERM, and SIGKILL for what is left after `grace_s`; blocks."""
    left = members(trees)
    found = len(left)
    if not found:
        return Ending(0, ())
    for number in (signal.SIGTERM, signal.SIGCONT):  # what is stopped would not see the first
        _send(left, number)
    _wait(left, grace_s)
    deadline = time.monotonic() + ROUNDS_S
    while (left := _surely(trees)) and time.monotonic() < deadline:
        _send(left, signal.SIGKILL)
        _wait(left, ROUND_S)
    return Ending(found, tuple(left))


def _looks(trees: Sequence[Tree]) -> Iterator[list[int]]:
    """What is found, several times: a process that is in execve(2) has no environment, and its mark is not seen."""
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN_LOOKS_S)
        yield members(trees)


def _surely(trees: Sequence[Tree]) -> list[int]:
    """The first look that finds any; may block 20 ms if there are none."""
    return next((found for found in _looks(trees) if found), [])


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        if pid == os.getpid():
            continue
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _wait(pids: Iterable[int], patience_s: float) -> None:
    """Until all of them have ended, at most so long."""
    deadline = time.monotonic() + patience_s
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return
        finally:
            os.close(pidfd)


def _is_own_session(tree: Tree) -> bool:
    """Whether the session of that number is the job's: nobody else's program has the leader's pid by now."""
    leader = _stat(tree.pid)
    return leader is None or leader.ticks == tree.ticks


def _stat(pid: int) -> _Stat | None:
    """State, session and start of a process (proc(5), stat); None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(1024)
    except OSError:
        return None
    # The second field, the name, may hold spaces and parentheses: count from the last one.
    fields = text[text.rindex(b")") + 2 :].split(b" ", 20)
    return _Stat(fields[0].decode("ascii", "replace"), int(fields[3]), int(fields[19]))


def _carries(pid: int, marks: Iterable[bytes]) -> bool:
    """Whether any of `marks` is in the environment, of which every entry is between two NULs here."""
    environment = _environment(pid)
    return any(mark in environment for mark in marks)


def _environment(pid: int) -> bytes:
    """A process's environment; empty if it may not be read, or if the process is a zombie or the kernel's own.

    Only its beginning: those of guests can be read as well, and there may be thousands of them with 6 MiB each.
    """
    try:
        fd = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return b"\0" + os.read(fd, MAX_ENVIRONMENT) + b"\0"
    except OSError:
        return b""
    finally:
        os.close(fd)
