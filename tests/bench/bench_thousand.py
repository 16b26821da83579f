"""Whether a thousand containers cost more than their number: the last 100 against the first, and `vm info`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from tests.bench.machine import MINIBUS, need_root, progress, settle, wall_s
from tests.bench.product import Product, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured

BATCH = 100
BATCHES = 10
SMALL = 10
RUNS = 5
LAST = Budget(name="last_100_of_1000", unit="s", limit=1.3, direction="<=")
INFO = Budget(name="vm_info_1000", unit="ms", limit=3.0, direction="<=")


def thousand() -> Mapping[str, Measured]:
    """Ten batches of 100 in one experiment; before them ten containers alone, as the reference of `vm info`."""
    need_root()
    settle()
    with with_rootfs() as (product, rootfs):
        small_ms = _info_of_ten(product, rootfs)
        settle()
        times = _launch_batches(product, rootfs)
        large_ms = _info_ms(product)
        with product.connect() as connection:
            product.remove(connection)
    return {
        LAST.name: Measured(value=times[-1], reference=times[0]),
        INFO.name: Measured(value=large_ms, reference=small_ms),
    }


def _info_of_ten(product: Product, rootfs: Path) -> float:
    with product.connect() as connection:
        product.launch(connection, str(SMALL), rootfs)
        elapsed_ms = _info_ms(product)
        product.remove(connection)
    return elapsed_ms


def _launch_batches(product: Product, rootfs: Path) -> list[float]:
    times = []
    with product.connect() as connection:
        for number in range(BATCHES):
            elapsed = product.launch(connection, f"b{number}-[0-{BATCH - 1}]", rootfs)
            progress(f"batch {number + 1} of {BATCHES}: {elapsed:.2f} s")
            times.append(elapsed)
    return times


def _info_ms(product: Product) -> float:
    """Median of a few one-shot processes."""
    command = [MINIBUS, "exec", "--base", str(product.base), "vm info"]
    return statistics.median(wall_s(command) for _ in range(RUNS)) * 1000


BENCHMARK = Benchmark(rows=(LAST, INFO), run=thousand)
