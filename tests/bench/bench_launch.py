"""Launching, starting, killing and flushing 500 containers through the command socket, against one thread of C."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.bench.machine import compile_launch, launch_reference, need_root, progress, scratch, settle
from tests.bench.product import Product, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured

COUNT = 500
ROUNDS = 3
LAUNCH = Budget(name="launch", unit="containers/s", limit=0.5, direction=">=")
KILL = Budget(name="kill_flush", unit="s", limit=0.5, direction="<=")


def launch() -> Mapping[str, Measured]:
    """The best of alternating rounds of each side: whatever else the machine does can only slow a round.

    Killing and flushing is compared with their own launch.
    """
    need_root()
    program = compile_launch()
    launched, removed, reference = [], [], []
    with scratch() as work, with_rootfs() as (product, rootfs):
        for number in range(1, ROUNDS + 1):
            settle()
            reference.append(launch_reference(program, COUNT, rootfs, work)["launch_s"])
            settle()
            launch_s, kill_s = _round(product, rootfs)
            progress(f"round {number} of {ROUNDS}: {launch_s:.2f} s, C {reference[-1]:.2f} s, removal {kill_s:.2f} s")
            launched.append(launch_s)
            removed.append(kill_s)
    launch_s, kill_s, reference_s = map(min, (launched, removed, reference))
    return {
        LAUNCH.name: Measured(value=COUNT / launch_s, reference=COUNT / reference_s),
        KILL.name: Measured(value=kill_s, reference=launch_s),
    }


def _round(product: Product, rootfs: Path) -> tuple[float, float]:
    """Seconds until all inits run, and seconds until nothing is left of them."""
    with product.connect() as connection:
        launch_s = product.launch(connection, str(COUNT), rootfs)
        return launch_s, product.remove(connection)


BENCHMARK = Benchmark(rows=(LAUNCH, KILL), run=launch)
