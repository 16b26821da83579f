"""How long other clients wait for small commands while something else goes on."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.bench.machine import progress
from tests.bench.product import CommandSocket, Product
from tests.bench.report import UnavailableError, percentile

CLIENTS = 10
PERIOD_S = 0.1
"""Each client has a command due this often, and a connection of its own, so that none queues behind another's."""
FEWEST_SAMPLES = 100


def times_during(product: Product, commands: Sequence[str], work: Callable[[], None]) -> list[float]:
    """Seconds that each command took that was due while `work` ran; every client asks one of the commands in turn.

    Raises UnavailableError if `work` was over too soon to tell.
    """
    by_command = _times_by_command(product, commands, work)
    times = list(itertools.chain(*by_command.values()))
    if len(times) < FEWEST_SAMPLES:
        raise UnavailableError(f"only {len(times)} commands were due meanwhile")
    for command, own in by_command.items():
        p50, p99 = (percentile(own, rank) * 1000 for rank in (50, 99))
        progress(f"{command}: median {p50:.1f} ms, 99 % within {p99:.1f} ms, of {len(own)}")
    return times


def _times_by_command(product: Product, commands: Sequence[str], work: Callable[[], None]) -> dict[str, list[float]]:
    done = threading.Event()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(CLIENTS, thread_name_prefix="client") as pool:
        clients = [stack.enter_context(product.connect()) for _ in range(CLIENTS)]
        begin = time.perf_counter()
        asked = [
            pool.submit(_ask_until, client, commands[number % len(commands)], begin + PERIOD_S * number / CLIENTS, done)
            for number, client in enumerate(clients)
        ]
        try:
            work()
        finally:
            done.set()
        results = [each.result() for each in asked]
    return {command: list(itertools.chain(*results[turn :: len(commands)])) for turn, command in enumerate(commands)}


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
