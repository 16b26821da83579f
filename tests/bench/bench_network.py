"""Containers with an interface: their launch against one thread of C that does the same, their end, `vm top`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from bus.paths import base_tag
from shims.network import clearing
from tests.bench.machine import compile_launch, launch_reference, need_root, progress, scratch, settle
from tests.bench.product import CommandSocket, Product, seconds_until, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured

COUNT = 500
ROUNDS = 3
FEW, MANY, BATCH = 250, 1000, 250
TOPS = 5
WINDOW_S = 1
LAUNCH = Budget(name="launch_interface", unit="containers/s", limit=0.5, direction=">=")
END_FEW = Budget(name="end_250_interfaces", unit="s", limit=1.5, direction="<=", of="value")
END_MANY = Budget(name="end_1000_interfaces", unit="s", limit=6.0, direction="<=", of="value")
TOP = Budget(name="vm_top_1000_interfaces", unit="s", limit=2.0, direction="<=", of="value")
"""Of which one second is what it measures."""


def network() -> Mapping[str, Measured]:
    """The best of alternating rounds of launching; removal until the kernel has none of the devices."""
    need_root()
    program = compile_launch()
    with scratch() as work, with_rootfs() as (product, rootfs):
        launched, reference = _launches(program, product, rootfs, work)
        settle()
        _fill(product, rootfs, FEW)
        few_s = _empty(product)
        progress(f"{FEW} ended in {few_s:.2f} s")
        settle()
        _fill(product, rootfs, MANY)
        top_s = _top_s(product)
        many_s = _empty(product)
        progress(f"vm top of {MANY}: {top_s:.2f} s; ended in {many_s:.2f} s")
    return {
        LAUNCH.name: Measured(value=COUNT / launched, reference=COUNT / reference),
        END_FEW.name: Measured(value=few_s),
        END_MANY.name: Measured(value=many_s),
        TOP.name: Measured(value=top_s),
    }


def _launches(program: Path, product: Product, rootfs: Path, work: Path) -> tuple[float, float]:
    """Seconds of minibus, and of C."""
    launched, reference = [], []
    for number in range(1, ROUNDS + 1):
        settle()
        reference.append(launch_reference(program, COUNT, rootfs, work, interface=True)["launch_s"])
        settle()
        launched.append(_fill(product, rootfs, COUNT))
        progress(f"round {number} of {ROUNDS}: {launched[-1]:.2f} s, C {reference[-1]:.2f} s")
        _empty(product)
    return min(launched), min(reference)


def _fill(product: Product, rootfs: Path, count: int) -> float:
    """Launch containers that have an interface in one VLAN; returns the seconds until they run."""
    with product.connect() as connection:
        connection.command("vm config net bench")
        if count <= COUNT:
            return product.launch(connection, str(count), rootfs)
        return sum(product.launch(connection, f"n{start}-[0-{BATCH - 1}]", rootfs) for start in range(0, count, BATCH))


def _empty(product: Product) -> float:
    """Kill and flush all; the seconds until nothing is left of them, and no device."""
    with product.connect() as connection:
        elapsed = product.remove(connection)
    tag = base_tag(product.base)
    return elapsed + seconds_until(lambda: not clearing.devices(tag), "some devices of the flushed guests are left")


def _top_s(product: Product) -> float:
    with product.connect() as connection:
        return statistics.median(_timed_top(connection) for _ in range(TOPS))


def _timed_top(connection: CommandSocket) -> float:
    return connection.timed(f"vm top {WINDOW_S}")


BENCHMARK = Benchmark(rows=(LAUNCH, END_FEW, END_MANY, TOP), run=network)
