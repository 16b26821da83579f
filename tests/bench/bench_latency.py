"""How long other clients wait for a command while 500 containers are launched and started."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.machine import need_root, settle
from tests.bench.probes import times_during
from tests.bench.product import with_rootfs
from tests.bench.report import Benchmark, Budget, Measured, percentile

COUNT = 500
PROBE = "probe"
COMMANDS = ("version", f"vm tag {PROBE}")
"""Asked by every other client: one that the command server answers itself, and one that goes to the owner of the
guests, which is busy with the launch. Both answers are small: how long a large table takes is another row's matter."""
ROW = Budget(name="command_p99", unit="ms", limit=50.0, direction="<=", of="value")


def latency() -> Mapping[str, Measured]:
    """The 99th percentile over all commands that were due during the launch."""
    need_root()
    settle()
    with with_rootfs() as (product, rootfs), product.connect() as launcher:
        product.launch(launcher, PROBE, rootfs)

        def launch() -> None:
            launcher.command(f"vm launch container {COUNT}")
            launcher.command("vm start all")

        times = times_during(product, COMMANDS, launch)
        product.note_guests(launcher)
        product.remove(launcher)
    return {ROW.name: Measured(value=percentile(times, 99) * 1000)}


BENCHMARK = Benchmark(rows=(ROW,), run=latency)
