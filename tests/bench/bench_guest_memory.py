"""What a container costs the whole machine, processes, kernel and minibus together, against the same from C."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.machine import compile_launch, launched_reference, need_root, progress, scratch, settle, used_kib
from tests.bench.product import with_rootfs
from tests.bench.report import Benchmark, Budget, Measured

COUNT = 1000
BATCH = 250
"""Launched at once."""
MEMORY = Budget(name="guest_memory", unit="KiB", limit=1.5, direction="<=")


def guest_memory() -> Mapping[str, Measured]:
    """How much more memory is in use while a thousand run, a thousandth of it."""
    need_root()
    program = compile_launch()
    with scratch() as work, with_rootfs() as (product, rootfs):
        settle()
        before_kib = used_kib()
        with launched_reference(program, COUNT, rootfs, work):
            reference_kib = used_kib() - before_kib
        settle()
        before_kib = used_kib()
        with product.connect() as connection:
            for number in range(COUNT // BATCH):
                product.launch(connection, f"m{number}-[0-{BATCH - 1}]", rootfs)
            value_kib = used_kib() - before_kib
            product.remove(connection)
    progress(f"{value_kib / 1024:.0f} MiB for {COUNT} containers, C {reference_kib / 1024:.0f} MiB")
    return {MEMORY.name: Measured(value=value_kib / COUNT, reference=reference_kib / COUNT)}


BENCHMARK = Benchmark(rows=(MEMORY,), run=guest_memory)
