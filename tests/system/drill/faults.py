"""What is done to the processes of minibus, and how long they take to be back."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.system.drill.clock import YEAR_S, WallClock
from tests.system.drill.disk import filled
from tests.system.drill.timeline import Timeline
from tests.system.product import PROCESSES, CommandError, Console, Product

CLONER = "cloner"
"""The warden's helper: it has no lock and is not listed."""
VICTIMS = (*PROCESSES, CLONER)
FALLS = 4
"""Within `FALLS_S`: one more and the node rightly gives a process up."""
FALLS_S = 61.0
HANG_S = 5.0
"""Of silence, then the node ends a process."""
BACK_S = 5.0
"""From its death to the moment when it does its work again."""
PATIENCE_S = 60.0
WORK: dict[str, tuple[str, ...]] = {
    "namespace": ("vm config",),
    "scheduler": ("ns schedule status",),
    "vm": ("vm info",),
    "network": ("tap create 900 name dr{tag}{n}", "clear tap"),
    "host": ("shell true",),
    "files": ("file list",),
    "plumber": ("pipe probe word", "clear pipe probe"),
    CLONER: ("vm launch container again{n}", "vm kill again{n}", "vm flush again{n}"),
}
"""Commands that a process has a part in; the others are tried with those that go through most."""
PAUSE_AND_RESUME = ("vm stop probe", "vm start probe")


class Faults:
    """Chosen by a seed; each waits until all is well again and notes how long that took."""

    def __init__(self, product: Product, timeline: Timeline, chance: random.Random) -> None:
        self._product = product
        self._timeline = timeline
        self._chance = chance
        self._numbers = itertools.count()
        self._falls: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self.back_s: dict[str, list[float]] = defaultdict(list)
        """By kind of fault and process: seconds beyond those that the node needs to notice."""

    # --- kinds

    def kill(self, process: str) -> None:
        """SIGKILL."""
        old = self._fall(process)
        spared = [name for name in PROCESSES if name != process] if process != "node" else ["warden"]
        before = {name: self.pid(name) for name in spared}
        self._timeline.note(f"kill {process} ({old})")
        begun_s = time.monotonic()
        os.kill(old, signal.SIGKILL)
        self._bring_back(process)
        self._until_back("kill", process, old, begun_s)
        taken = [name for name in spared if self.pid(name) != before[name]]
        if taken:
            self.wrong.append(f"{process} has taken {', '.join(taken)} with it")

    def hang(self, processes: tuple[str, ...]) -> None:
        """SIGSTOP several until they are replaced."""
        hung = {process: self._fall(process) for process in processes}
        self._timeline.note(f"stop {hung}")
        begun_s = time.monotonic()
        for pid in hung.values():
            os.kill(pid, signal.SIGSTOP)
        for process, pid in hung.items():
            self._until_back("stop", process, pid, begun_s + HANG_S)

    def doze(self, process: str) -> None:
        """SIGSTOP for less than a hang, or as long as one likes for the node, which nobody replaces."""
        pid = self.pid(process)
        asleep_s = self._chance.uniform(0.5, 6.0 if process == "node" else 2.0)
        self._timeline.note(f"stop {process} ({pid}) for {asleep_s:.1f} s")
        begun_s = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(asleep_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        self._until_well("doze", process, begun_s + asleep_s)
        if self.pid(process) != pid:
            self.wrong.append(f"{process} was replaced, although it only slept for {asleep_s:.1f} s")

    def starve(self, process: str) -> None:
        """Not one more descriptor for a while."""
        pid = self.pid(process)
        starved_s = self._chance.uniform(0.3, 1.3)
        with no_more_descriptors(pid) as limit:
            self._timeline.note(f"starve {process} ({pid}) at {limit} descriptors for {starved_s:.1f} s")
            begun_s = time.monotonic()
            time.sleep(starved_s)
        self._until_well("starve", process, begun_s + starved_s)
        if process != CLONER and self.pid(process) != pid:
            self.wrong.append(f"{process} did not survive a lack of descriptors")

    def starve_the_node_of_a_child(self, process: str) -> None:
        """A process falls while the node can open nothing, not even a lane to its successor."""
        node, old = self.pid("node"), self._fall(process)
        with no_more_descriptors(node) as limit:
            self._timeline.note(f"kill {process} ({old}) with the node at {limit} descriptors")
            # Its lane's number is free as soon as it is gone, but a new lane takes two.
            os.kill(old, signal.SIGKILL)
            time.sleep(self._chance.uniform(0.5, 1.5))
            begun_s = time.monotonic()
        self._until_back("starve", process, old, begun_s)
        if self.pid("node") != node:
            self.wrong.append("the node did not survive a lack of descriptors")

    def fill_the_disk(self, base: Path, mortal: tuple[str, ...]) -> None:
        """Nothing can be written for some seconds, in which some processes are killed as well."""
        before = {name: self.pid(name) for name in PROCESSES if name not in mortal}
        with filled(base):
            self._timeline.note("the disk is full")
            for process in mortal:
                time.sleep(self._chance.uniform(0.5, 1.5))
                self._timeline.note(f"kill {process} ({self._fall(process)})")
                os.kill(self.pid(process), signal.SIGKILL)
            time.sleep(self._chance.uniform(1.0, 2.0))
        self._timeline.note("the disk has room again")
        begun_s = time.monotonic()
        for process in PROCESSES:
            self._until_well("disk", process, begun_s)
        fallen = [name for name, pid in before.items() if self.pid(name) != pid]
        if fallen:
            self.wrong.append(f"{', '.join(fallen)} did not survive a full disk")

    def jump(self, clock: WallClock, seconds: int, mortal: str) -> None:
        """The wall clock is set, and a process falls that has to make sense of times from before."""
        before = {name: self.pid(name) for name in PROCESSES if name != mortal}
        clock.jump(seconds)
        begun_s = time.monotonic()
        self._timeline.note(f"the clock jumps by {seconds / YEAR_S:+g} years")
        time.sleep(self._chance.uniform(1.0, 2.0))
        self.kill(mortal)
        for process in PROCESSES:
            self._until_well("clock", process, begun_s)
        fallen = [name for name, pid in before.items() if self.pid(name) != pid]
        if fallen:
            self.wrong.append(f"{', '.join(fallen)} did not survive that the clock was set")

    def everything(self) -> None:
        """SIGKILL for all at once, and up again."""
        pids = [self.pid(process) for process in PROCESSES]
        self._timeline.note(f"kill everything {pids}")
        begun_s = time.monotonic()
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that nobody sees the others die
            for pid in pids:
                os.kill(pid, number)
        self._falls.clear()
        self._product.up()
        self._until_well("everything", "node", begun_s)

    # --- processes

    def pid(self, process: str) -> int:
        """Of a process that runs; 0 if it does not."""
        if process != CLONER:
            return self._product.pid(process)
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            for child in psutil.Process(self._product.pid("warden")).children():
                if child.name() == "mb-cloner":
                    return child.pid
        return 0

    def _fall(self, process: str) -> int:
        """Its pid, once it may fall again."""
        while len(recent := [at for at in self._falls[process] if at > time.monotonic() - FALLS_S]) >= FALLS:
            time.sleep(0.5)
        self._falls[process] = [*recent, time.monotonic()]
        return self.pid(process)

    def _bring_back(self, process: str) -> None:
        if process == "node":
            self._falls.clear()
            self._product.up()

    # --- recovery

    def _until_back(self, kind: str, process: str, old: int, begun_s: float) -> None:
        deadline = time.monotonic() + PATIENCE_S
        # The cloner comes back when it is needed next, which the work below sees to.
        while process != CLONER and self.pid(process) in (0, old):
            if time.monotonic() > deadline:
                self.wrong.append(f"{process} ({old}) was not replaced within {PATIENCE_S} s")
                return
            time.sleep(0.01)
        self._until_well(kind, process, begun_s)

    def _until_well(self, kind: str, process: str, begun_s: float) -> None:
        deadline = time.monotonic() + PATIENCE_S
        answer = "nothing"
        while (why := self._unwell(process)) is not None:
            answer = why
            if time.monotonic() > deadline:
                self.wrong.append(f"{process} does not work {PATIENCE_S} s after {kind}: {answer}")
                return
            time.sleep(0.02)
        took_s = max(0.0, time.monotonic() - begun_s)
        self.back_s[f"{kind} {process}"].append(took_s)
        self._timeline.note(f"{process} works again after {took_s:.2f} s (before: {answer})")

    def _unwell(self, process: str) -> str | None:
        """Why it does not work; None if it does."""
        try:
            with Console(self._product.base, patience_s=PATIENCE_S) as console:
                number = next(self._numbers)
                console.ok(
                    *(line.format(n=number, tag=self._product.tag) for line in WORK.get(process, PAUSE_AND_RESUME))
                )
        except (CommandError, OSError, ConnectionError) as error:
            return str(error) or type(error).__name__
        return None


@contextlib.contextmanager
def no_more_descriptors(pid: int) -> Iterator[int]:
    """The soft limit (setrlimit(2)) at the lowest number that is free: whatever is opened next gets EMFILE."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    limit = next(number for number in range(len(used) + 1) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield limit
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
