"""A node with toy children, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.system.patience import FACTOR

ROOT = Path(__file__).parents[2]
WAIT_S = 15.0 * FACTOR


class RunningNode:
    """A node as a process of its own."""

    def __init__(self, base: Path, *arguments: str) -> None:
        self.base = base
        with (base / "node.err").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.toy_node", str(base), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
            )

    @property
    def pid(self) -> int:
        """Of the node."""
        return self.process.pid

    def said(self) -> str:
        """What it told whoever started it: waits for `ready` or the reason."""
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    def steps(self) -> list[str]:
        """What its children did, without the pids."""
        return [line.rpartition(" ")[0] for line in self._lines()]

    def pids(self, name: str, what: str = "begins") -> list[int]:
        """Pids of the children that did this, in order."""
        lines = (line.rpartition(" ") for line in self._lines())
        return [int(pid) for step, _, pid in lines if step == f"{name} {what}"]

    def _lines(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.base / "steps").read_text().splitlines()
        return []

    def wait_for(self, what: str, times: int = 1) -> None:
        """Wait until a step was done so many times."""
        until(lambda: self.steps().count(what) >= times)

    def errors(self) -> str:
        """The node's log and that of its children."""
        return (self.base / "node.err").read_text()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(WAIT_S)


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition; fails the test if it does not come true."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is not just waiting to be reaped."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def of_base(base: Path) -> list[psutil.Process]:
    """Every process that was started with this base directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if str(base) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def node(base: Path, *arguments: str) -> Iterator[RunningNode]:
    """A node; when the test is done, nothing of it may be left that it did not end itself."""
    running = RunningNode(base, *arguments)
    try:
        yield running
        if running.process.poll() is None:
            running.stop()
        until(lambda: not of_base(base))
    finally:
        for process in of_base(base):
            process.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()
