"""Real processes of a test: started, waited for, and gone afterwards."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bus.client import connect
from bus.errors import BusError
from bus.messages.control import GetStatus
from bus.port import Port
from tests.system.patience import FACTOR

WAIT_S = 10.0 * FACTOR
Toy = subprocess.Popen[bytes]


class Processes:
    """The toys of one base directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.started: list[Toy] = []

    def start(self, kind: str, *options: str) -> Toy:
        """Start a toy without waiting for it; its stderr goes to `<base>/<kind>.err`."""
        argv = [sys.executable, "-m", "tests.integration.toys", kind, str(self.base), *options]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            toy = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, cwd=Path(__file__).parents[2])
        self.started.append(toy)
        return toy

    def said(self, kind: str) -> str:
        """What a toy wrote on stderr."""
        return (self.base / f"{kind}.err").read_text()

    def end(self) -> None:
        """Kill what still runs; the test may have stopped it before."""
        for toy in self.started:
            with suppress(ProcessLookupError):
                toy.kill()
            toy.wait()
            if toy.stdout is not None:
                toy.stdout.close()


def kill(toy: Toy) -> None:
    """SIGKILL, and wait until it is gone."""
    toy.send_signal(signal.SIGKILL)
    toy.wait()


@contextmanager
def toys(base: Path) -> Iterator[Processes]:
    """The processes of a test; none is left afterwards."""
    processes = Processes(base)
    try:
        yield processes
    finally:
        processes.end()


async def until(true: Callable[[], Awaitable[bool]], wait_s: float = WAIT_S) -> float:
    """Wait for a condition; returns after how many seconds it held. Raises TimeoutError."""
    started = time.monotonic()
    async with asyncio.timeout(wait_s):
        while not await true():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.005)
    return time.monotonic() - started


async def serves(client: Port, actor: str) -> float:
    """Wait until an actor answers; returns after how many seconds it did."""

    async def answers() -> bool:
        with suppress(BusError):
            await client.ask(actor, GetStatus(), timeout_s=1.0)
            return True
        return False

    return await until(answers)


async def broker_serves(base: Path) -> None:
    """Wait until a broker answers on this base."""

    async def answers() -> bool:
        with suppress(BusError):
            async with connect(base, timeout_s=1.0):
                return True
        return False

    await until(answers)
