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
FORMS = {"vm_info_1000": "vm info", "vm_info_1000_csv": ".csv true vm info", "vm_info_1000_json": ".json true vm info"}
"""Row and command: as a table, as CSV, as JSON."""
INFO = tuple(Budget(name=name, unit="ms", limit=3.0, direction="<=") for name in FORMS)


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
        **{name: Measured(value=large_ms[name], reference=small_ms[name]) for name in FORMS},
    }


def _info_of_ten(product: Product, rootfs: Path) -> dict[str, float]:
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


def _info_ms(product: Product) -> dict[str, float]:
    """For each form the median of a few one-shot processes."""
    commands = {name: [MINIBUS, "exec", "--base", str(product.base), line] for name, line in FORMS.items()}
    return {name: statistics.median(wall_s(command) for _ in range(RUNS)) * 1000 for name, command in commands.items()}


BENCHMARK = Benchmark(rows=(LAST, *INFO), run=thousand)
