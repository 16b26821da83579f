"""`just soak MINUTES`: launches, pipes and commands come and go, and what minibus has on the machine stays the same.

Work goes on in cycles. After each everything is flushed and what minibus holds is counted; what is counted after the
first ones is where all must return to.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from shims.cgroups.cgroup import Cgroups, host_layout
from shims.images import rootfs
from shims.nuke import leftovers
from tests.system.drill.busload import COUNTED, BusLoad
from tests.system.drill.churn import Churn
from tests.system.drill.drill import DrillError
from tests.system.drill.timeline import Timeline
from tests.system.product import ACTORS, CommandError, Product, product_on, until

CLIENTS = ("churn0", "churn1")
CYCLE_S = 20.0
WARM_UP_CYCLES = 1
SETTLE_S = 20.0
MORE = {"fds": 4.0, "threads": (os.cpu_count() or 1) + 4.0, "files": float(len(ACTORS)), "pss": 24.0}
"""What there may be more than at first: connections to clients that have not been seen to go yet; the threads of
asyncio's executor, which it starts as they are needed; a snapshot of each actor; and MiB for the 10,000 answers that an
actor remembers, some 1 KiB each, with what that fragments."""
Sample = dict[str, float]


class Soak:
    """Cycles of work on one product, and a sample after each."""

    def __init__(self, product: Product, *, shown: bool) -> None:
        self._product = product
        self._timeline = Timeline(shown=shown)
        self.samples: list[Sample] = []
        self.commands = 0

    def cycle(self, seconds: float) -> None:
        """Work for so long, flush, wait until all is quiet, count."""
        seed = secrets.randbits(32)
        bus = BusLoad(self._product, self._timeline, f"cycle-{seed}")
        clients = [Churn(self._product, self._timeline, name, seed + n) for n, name in enumerate(CLIENTS)]
        for client in clients:
            client.prepare()
        bus.begin()
        for client in clients:
            client.start()
        time.sleep(seconds)
        for client in clients:
            client.end()
        bus.end()
        if broken := [*bus.check(), *(what for client in clients for what in client.check())]:
            raise DrillError("\n".join(broken))
        self.commands += sum(client.commands for client in clients)
        self._flush()
        self.samples.append(self._settled())
        self._timeline.note(f"{self.commands} commands so far: {_changes(self.samples[0], self.samples[-1])}")

    def judged(self) -> list[str]:
        """What has not returned to where it was, as sentences."""
        first, last = self.samples[min(WARM_UP_CYCLES, len(self.samples) - 1)], self.samples[-1]
        wrong = []
        for name in first.keys() | last.keys():
            before, after = first.get(name, 0), last.get(name, 0)
            allowed = MORE.get(name.split()[0], 0.0)
            if after - before > allowed:
                wrong.append(f"{name}: {before:g} at first, {after:g} in the end, {allowed:g} more are allowed")
        return sorted(wrong)

    def table(self) -> str:
        """The first and the last sample, and the growth in between."""
        first, last = self.samples[min(WARM_UP_CYCLES, len(self.samples) - 1)], self.samples[-1]
        rows = [f"{'':24} {'first':>8} {'last':>8} {'more':>8}"]
        for name in sorted(first.keys() | last.keys()):
            before, after = first.get(name, 0), last.get(name, 0)
            rows.append(f"{name:24} {before:8g} {after:8g} {round(after - before, 1):8g}")
        return "\n".join([f"{self.commands} commands in {len(self.samples)} cycles", *rows])

    def _flush(self) -> None:
        with self._product.console() as console:
            for namespace in (*CLIENTS, COUNTED):
                for line in ("vm kill all", "vm flush"):
                    console.ok(f"namespace {namespace} {line}")
                assert console.rows(f"namespace {namespace} vm info") == []
            with contextlib.suppress(CommandError):
                console.ok("clear pipe drill")

    def _settled(self) -> Sample:
        """Two samples alike in all but memory, a second apart: the last of them."""
        found: list[Sample] = [self._sample()]

        def is_quiet() -> bool:
            time.sleep(1.0)
            found.append(self._sample())
            return _without_memory(found[-1]) == _without_memory(found[-2])

        until(is_quiet, "minibus to come to rest", SETTLE_S)
        return found[-1]

    def _sample(self) -> Sample:
        base, tag = self._product.base, self._product.tag
        sample: Sample = {}
        processes = dict(self._processes())
        for name, process in processes.items():
            sample[f"fds {name}"] = process.num_fds()
            sample[f"threads {name}"] = process.num_threads()
            sample[f"pss {name}, MiB"] = round(process.memory_full_info().pss / 2**20, 1)
        owner = Cgroups(host_layout(), tag)
        sample["processes"] = len(processes)
        sample["children"] = len(psutil.Process(self._product.pid("node")).children(recursive=True))
        sample["guest processes"] = len(self._product.guest_pids())
        sample["mounts here"] = len(leftovers.mounts_in(Path("/proc/self/mountinfo").read_text(), base, tag))
        warden = Path(f"/proc/{self._product.pid('warden')}/mountinfo")
        sample["mounts of the warden"] = len(leftovers.mounts_in(warden.read_text(), base, tag))
        sample["cgroups"] = sum(len(list(os.walk(directory))) for directory in owner.directories)
        sample["devices"] = len(leftovers.devices(tag))
        sample["files"] = sum(len(files) + len(inner) for _, inner, files in os.walk(base))
        return sample

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        for name in self._product.ps():
            yield name, psutil.Process(self._product.pid(name))
        for child in psutil.Process(self._product.pid("warden")).children():
            yield child.name(), child


def _without_memory(sample: Sample) -> Sample:
    return {name: value for name, value in sample.items() if not name.startswith("pss")}


def _changes(first: Sample, last: Sample) -> str:
    changed = {name: last.get(name, 0) - first.get(name, 0) for name in first.keys() | last.keys()}
    return ", ".join(f"{name} {more:+g}" for name, more in sorted(changed.items()) if abs(more) > 0.5) or "no change"


def soak(base: Path, rootfs_dir: Path, seconds: float, *, cycle_s: float = CYCLE_S, shown: bool = False) -> Soak:
    """Work for so long, in at least one cycle beyond the warm-up. Raises DrillError if something has not returned."""
    with product_on(base, rootfs_dir) as product:
        run = Soak(product, shown=shown)
        deadline = time.monotonic() + seconds
        while len(run.samples) < WARM_UP_CYCLES + 1 or time.monotonic() < deadline:
            run.cycle(cycle_s)
        print(run.table())
        if wrong := run.judged():
            raise DrillError("\n".join(wrong))
        return run


def main() -> int:
    """Run it by hand; returns 1 if something grows."""
    parser = argparse.ArgumentParser(prog="just soak", description="Work for long, and see that nothing grows.")
    parser.add_argument("minutes", type=float)
    minutes = parser.parse_args().minutes
    work = Path(tempfile.mkdtemp(prefix="mbs-", dir="/tmp"))
    try:
        work.chmod(0o755)
        root, base = work / "root", work / "base"
        root.mkdir()
        base.mkdir(mode=0o700)
        rootfs.build(root)
        soak(base, root, minutes * 60, shown=True)
    except DrillError as error:
        print(f"FAILED\n{error}")
        return 1
    finally:
        shutil.rmtree(work)
    print("all returned to where it was")
    return 0


if __name__ == "__main__":
    sys.exit(main())
