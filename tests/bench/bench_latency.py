"""How long another client waits for a command while 500 containers are launched and started."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.bench.machine import need_root, progress, settle
from tests.bench.product import CommandSocket, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError, percentile

COUNT = 500
PERIOD_S = 0.01
PROBE = "probe"
COMMANDS = ("version", f"vm tag {PROBE}")
"""Asked in turn: one that the command server answers itself, and one that goes to the owner of the guests, which is
busy with the launch. Both answers are small: how long a large table takes is another row's matter."""
FEWEST_SAMPLES = 100
ROW = Budget(name="command_p99", unit="ms", limit=50.0, direction="<=", of="value")


def latency() -> Mapping[str, Measured]:
    """The 99th percentile over all commands that were due during the launch."""
    need_root()
    settle()
    with with_rootfs() as (product, rootfs), product.connect() as launcher, product.connect() as asker:
        product.launch(launcher, PROBE, rootfs)
        times = _times_during_launch(launcher, asker)
        product.note_guests(launcher)
        product.remove(launcher)
    if len(times) < FEWEST_SAMPLES:
        raise UnavailableError(f"only {len(times)} commands were due during the launch")
    for turn, command in enumerate(COMMANDS):
        p50, p99 = (percentile(times[turn :: len(COMMANDS)], rank) * 1000 for rank in (50, 99))
        progress(f"{command}: median {p50:.1f} ms, 99 % within {p99:.1f} ms")
    return {ROW.name: Measured(value=percentile(times, 99) * 1000)}


def _times_during_launch(launcher: CommandSocket, asker: CommandSocket) -> list[float]:
    done = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="asker") as pool:
        asked = pool.submit(_ask_until, asker, done)
        try:
            launcher.command(f"vm launch container {COUNT}")
            launcher.command("vm start all")
        finally:
            done.set()
        return asked.result()


def _ask_until(connection: CommandSocket, done: threading.Event) -> list[float]:
    """Seconds from when each command was due to its answer.

    Commands are due at a fixed rate: one that has to wait for its turn behind a slow one is late as well, as it would
    be for a person. Those that were due and not sent at the end count with the time they have waited so far.
    """
    times: list[float] = []
    due = time.perf_counter()
    while not done.wait(max(0.0, due - time.perf_counter())):
        connection.command(COMMANDS[len(times) % len(COMMANDS)])
        times.append(time.perf_counter() - due)
        due += PERIOD_S
    while (waited := time.perf_counter() - due) > 0:
        times.append(waited)
        due += PERIOD_S
    return times


BENCHMARK = Benchmark(rows=(ROW,), run=latency)
