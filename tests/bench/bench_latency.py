"""How long other clients wait for a command while 500 containers are launched and started."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.bench.machine import need_root, progress, settle
from tests.bench.product import CommandSocket, Product, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError, percentile

COUNT = 500
CLIENTS = 10
PERIOD_S = 0.1
"""Each client has a command due this often, and a connection of its own, so that none queues behind another's."""
PROBE = "probe"
COMMANDS = ("version", f"vm tag {PROBE}")
"""Asked by every other client: one that the command server answers itself, and one that goes to the owner of the
guests, which is busy with the launch. Both answers are small: how long a large table takes is another row's matter."""
FEWEST_SAMPLES = 100
ROW = Budget(name="command_p99", unit="ms", limit=50.0, direction="<=", of="value")


def latency() -> Mapping[str, Measured]:
    """The 99th percentile over all commands that were due during the launch."""
    need_root()
    settle()
    with with_rootfs() as (product, rootfs), product.connect() as launcher:
        product.launch(launcher, PROBE, rootfs)
        by_command = _times_during_launch(product, launcher)
        product.note_guests(launcher)
        product.remove(launcher)
    times = [each for times in by_command.values() for each in times]
    if len(times) < FEWEST_SAMPLES:
        raise UnavailableError(f"only {len(times)} commands were due during the launch")
    for command, own in by_command.items():
        p50, p99 = (percentile(own, rank) * 1000 for rank in (50, 99))
        progress(f"{command}: median {p50:.1f} ms, 99 % within {p99:.1f} ms, of {len(own)}")
    return {ROW.name: Measured(value=percentile(times, 99) * 1000)}


def _times_during_launch(product: Product, launcher: CommandSocket) -> dict[str, list[float]]:
    done = threading.Event()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(CLIENTS, thread_name_prefix="client") as pool:
        clients = [stack.enter_context(product.connect()) for _ in range(CLIENTS)]
        begin = time.perf_counter()
        asked = [
            pool.submit(_ask_until, client, COMMANDS[number % 2], begin + PERIOD_S * number / CLIENTS, done)
            for number, client in enumerate(clients)
        ]
        try:
            launcher.command(f"vm launch container {COUNT}")
            launcher.command("vm start all")
        finally:
            done.set()
        results = [each.result() for each in asked]
    return {command: list(itertools.chain(*results[turn::2])) for turn, command in enumerate(COMMANDS)}


def _ask_until(connection: CommandSocket, command: str, due: float, done: threading.Event) -> list[float]:
    """Seconds from when each command was due to its answer.

    Commands are due at a fixed rate, so that a long wait counts for all it would have delayed. Those that were due and
    not sent at the end count with the time they have waited so far.
    """
    times: list[float] = []
    while not done.wait(max(0.0, due - time.perf_counter())):
        connection.command(command)
        times.append(time.perf_counter() - due)
        due += PERIOD_S
    while (waited := time.perf_counter() - due) > 0:
        times.append(waited)
        due += PERIOD_S
    return times


BENCHMARK = Benchmark(rows=(ROW,), run=latency)
