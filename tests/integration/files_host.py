"""The files actor on a real broker, and what its tests ask of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.client import connect
from bus.errors import BusError
from bus.messages.control import GetStatus
from bus.messages.files import FetchUrl, GetFile, GetTransfers, LocalFile, Transfer
from bus.port import Port
from tests.integration.processes import broker_serves, serves, until
from tests.system.patience import FACTOR
from tests.unit.shims.http.web import body

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0 * FACTOR


class Files:
    """A broker and the actor on a base directory, and a connection to them."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.base = base
        self.root = base / "files"
        self._stack = stack
        self._environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self.actor: subprocess.Popen[bytes]
        self.port: Port

    def start(self, module: str) -> subprocess.Popen[bytes]:
        """Run a module of ours until the end of the test."""
        with (self.base / "said").open("ab") as said:
            process = subprocess.Popen(
                (sys.executable, "-m", module, "--base", str(self.base)), cwd=ROOT, stderr=said, env=self._environment
            )
        self._stack.callback(_end, process)
        return process

    def crash(self) -> None:
        """Kill the actor, and start another."""
        self.actor.send_signal(signal.SIGKILL)
        self.actor.wait()
        self.actor = self.start("actors.files")

    async def fetch(self, url: str, msg_id: str = "") -> LocalFile:
        """What FetchUrl answers."""
        return await self.port.ask("files", FetchUrl(url=url), timeout_s=WAIT_S, msg_id=msg_id)

    async def get(self, name: str) -> LocalFile:
        """What GetFile answers."""
        return await self.port.ask("files", GetFile(name=name), timeout_s=WAIT_S)

    async def transfers(self) -> tuple[Transfer, ...]:
        """What GetTransfers answers."""
        return (await self.port.ask("files", GetTransfers(), timeout_s=WAIT_S)).transfers

    async def waits(self, count: int) -> None:
        """Wait until so many requests are under way in the actor; the one that looks is not counted."""

        async def are_under_way() -> bool:
            return (await self.port.ask("files", GetStatus(), timeout_s=WAIT_S)).inbox == count

        await until(are_under_way)

    def hidden(self) -> list[Path]:
        """What grows."""
        return [path for path in (self.root / ".transfer").rglob("*") if path.is_file()]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@asynccontextmanager
async def running_files(base: Path) -> AsyncIterator[Files]:
    """The actor, once it serves; nothing of it is left afterwards."""
    with ExitStack() as stack:
        files = Files(base, stack)
        files.start("bus.broker")
        await broker_serves(base)
        files.actor = files.start("actors.files")
        async with connect(base) as files.port:
            await serves(files.port, "files")
            yield files


class Gate:
    """A route that says half, waits to be opened, and then says the rest."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._opened = threading.Event()
        self.open = self._opened.set

    def __call__(self, connection: socket.socket) -> None:
        whole = body(self._content)
        half = len(whole) - len(self._content) // 2
        connection.sendall(whole[:half])
        self._opened.wait(WAIT_S)
        connection.sendall(whole[half:])


async def refused(kind: type[BusError], asked: Any) -> str:
    """The sentence with which a request fails."""
    with pytest.raises(kind) as error:
        await asked
    assert "\n" not in str(error.value)
    return str(error.value)
