"""A broker and a plumber as processes of their own, started by hand and killed at will."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from bus.client import connect
from bus.errors import BusError
from bus.messages.base import Message, Request
from bus.messages.pipe import GetPipes, PipeInfo, PipeList
from bus.port import Port
from tests.integration.processes import broker_serves, kill, serves, until

R = TypeVar("R", bound=Message)
ROOT = Path(__file__).parents[2]
MODULES = {"broker": "bus.broker", "plumber": "actors.plumber"}


class PlumberHost:
    """See the module."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str) -> None:
        """Start `broker` or `plumber` without waiting for it."""
        argv = [sys.executable, "-m", MODULES[kind], "--base", str(self.base)]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            self.processes[kind] = subprocess.Popen(argv, stderr=stderr, cwd=ROOT)

    def kill(self, kind: str) -> None:
        """SIGKILL, and wait until it is gone."""
        kill(self.processes.pop(kind))

    def restart(self, kind: str) -> None:
        """SIGKILL, and start another."""
        self.kill(kind)
        self.start(kind)

    def said(self, kind: str) -> str:
        """What it logged."""
        return (self.base / f"{kind}.err").read_text()

    def memory_mib(self, kind: str) -> float:
        """Resident memory (proc(5))."""
        status = Path(f"/proc/{self.processes[kind].pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def end(self) -> None:
        """Kill what still runs."""
        for kind in tuple(self.processes):
            self.kill(kind)


@asynccontextmanager
async def plumber_host(base: Path) -> AsyncIterator[tuple[PlumberHost, Port]]:
    """A host that serves, and a connection to it; nothing is left afterwards."""
    host = PlumberHost(base)
    try:
        host.start("broker")
        host.start("plumber")
        await broker_serves(base)
        async with connect(base) as port:
            await serves(port, "plumber")
            yield host, port
    finally:
        host.end()


async def pipe_info(port: Port, name: str, namespace: str = "minimega") -> PipeInfo:
    """One pipe as it is; raises BusError, or IndexError if it is not there."""
    found: PipeList = await port.ask("plumber", GetPipes(pipe=name), timeout_s=10.0, namespace=namespace)
    return found.pipes[0]


async def until_pipe(port: Port, name: str, **wanted: object) -> PipeInfo:
    """Wait until a pipe has these fields."""
    last: list[PipeInfo] = []

    async def is_so() -> bool:
        try:
            last.append(await pipe_info(port, name))
        except (BusError, IndexError):
            return False
        return all(getattr(last[-1], field) == value for field, value in wanted.items())

    try:
        await until(is_so, 20.0)
    except TimeoutError:
        raise AssertionError(f"{name} never had {wanted}: {last[-1:]}") from None
    return last[-1]


async def ask(port: Port, request: Request[R], namespace: str = "minimega") -> R:
    """Ask the plumber."""
    return await port.ask("plumber", request, timeout_s=10.0, namespace=namespace)
