"""A broker and the network actor as processes of their own, started by hand and killed at will."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from bus.client import connect
from bus.errors import BusError, OutcomeUnknownError
from bus.messages.base import DEFAULT_NAMESPACE, Message, Request
from bus.messages.network import GetInterfaces, InterfaceList
from bus.paths import base_tag
from bus.port import Port
from shims.network import clearing
from tests.integration.processes import broker_serves, kill, serves

R = TypeVar("R", bound=Message)
ROOT = Path(__file__).parents[2]
MODULES = {"broker": "bus.broker", "network": "actors.network"}
WAIT_S = 30.0


class NetworkHost:
    """See the module."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.tag = base_tag(base)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port: Port

    def start(self, kind: str = "network") -> None:
        """Start one without waiting for it."""
        argv = [sys.executable, "-m", MODULES[kind], "--base", str(self.base)]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            self.processes[kind] = subprocess.Popen(argv, stderr=stderr, cwd=ROOT)

    def kill(self, kind: str = "network") -> None:
        """SIGKILL, and wait until it is gone."""
        kill(self.processes.pop(kind))

    async def stop(self) -> None:
        """Have the network actor end in order."""
        process = self.processes.pop("network")
        process.terminate()
        assert await asyncio.to_thread(process.wait, WAIT_S) == 0

    def said(self, kind: str = "network") -> str:
        """What it logged."""
        return (self.base / f"{kind}.err").read_text()

    async def ask(self, request: Request[R], namespace: str = DEFAULT_NAMESPACE) -> R:
        """Ask the network actor, under the same id until there is an answer, whoever dies meanwhile."""
        msg_id = os.urandom(8).hex()
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    return await self.port.ask("network", request, timeout_s=WAIT_S, namespace=namespace, msg_id=msg_id)
                except BusError as error:
                    if not (error.retryable or isinstance(error, OutcomeUnknownError)):
                        raise
                await asyncio.sleep(0.02)

    async def interfaces(self) -> InterfaceList:
        """Those of the default namespace."""
        return await self.ask(GetInterfaces())

    def end(self) -> None:
        """Kill what still runs."""
        for kind in tuple(self.processes):
            self.kill(kind)


@asynccontextmanager
async def network_host(base: Path) -> AsyncIterator[NetworkHost]:
    """A host that serves; it has to have ended its networks itself."""
    host = NetworkHost(base)
    try:
        host.start("broker")
        host.start()
        await broker_serves(base)
        async with connect(base) as host.port:
            await serves(host.port, "network")
            yield host
    finally:
        host.end()
        left = clearing.left(host.tag)
        clearing.clear(host.tag)
    assert left == []
