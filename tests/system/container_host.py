"""A warden of our own for one test, and a way to see what a container sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from bus.paths import base_tag
from shims.container.client import WardenClient, WardenError, WardenGoneError
from shims.container.protocol import ContainerSpec, ContainerStatus, Created, Exited, Volume
from shims.nuke import leftovers
from tests.system.patience import FACTOR

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0 * FACTOR
UUID = "5d1b8a5a-54cb-4cd5-9d05-0c4e1f5d2f0a"


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition()`; fails with `what` after a long time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.005)


class Host:
    """A base directory with a warden process and a connected client."""

    def __init__(self, base: Path, rootfs: Path) -> None:
        self.base = base
        self.rootfs = rootfs
        self.tag = base_tag(base)
        self.exits: dict[int, Exited] = {}
        self.masters: dict[int, int] = {}
        self.client = self.new_client()
        self.process: asyncio.subprocess.Process | None = None
        self.node: socket.socket | None = None
        self._consoles: dict[int, bytes] = {}

    def new_client(self) -> WardenClient:
        """One more client of the same warden."""
        return WardenClient(self.base / "run" / "warden", on_exited=self._on_exited)

    def _on_exited(self, exited: Exited) -> None:
        self.exits[exited.guest_id] = exited

    async def start(self, *, with_node: bool = False, prelude: str = "pass") -> None:
        """Start the warden, with this test in the place of the node if asked to, and connect.

        `prelude` is run in the warden's process first.
        """
        code = (
            f"{prelude}; import socket, sys, pathlib; from shims.container.warden import run; "
            "sys.exit(run(pathlib.Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])) if sys.argv[2:] else None))"
        )
        arguments = [str(self.base)]
        theirs: list[int] = []
        if with_node:
            self.node, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.append(other.detach())
            arguments.append(str(theirs[0]))
        try:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, *arguments, cwd=ROOT, pass_fds=theirs, stderr=asyncio.subprocess.DEVNULL
            )
        finally:
            for fd in theirs:
                os.close(fd)
        if self.node is not None:
            assert self.hear()["type"] == "ready"
        await self.connect()

    async def connect(self) -> None:
        """Connect as soon as the warden answers.

        A cloner that was being forked when the warden was killed keeps the old listening socket open until its exec.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(WardenGoneError):
                await self.client.connect()
                await self.client.list()
                return
            assert time.monotonic() < deadline, "no warden listens"
            await asyncio.sleep(0.005)

    def tell(self, **packet: Any) -> None:
        """Say something to the warden as its node."""
        assert self.node is not None
        self.node.send(json.dumps(packet).encode())

    def hear(self) -> dict[str, Any]:
        """The next packet of the warden to its node."""
        assert self.node is not None
        self.node.settimeout(PATIENCE_S)
        packet = json.loads(self.node.recv(65536))
        assert isinstance(packet, dict)
        return packet

    @property
    def pid(self) -> int:
        """Of the warden."""
        assert self.process is not None
        return self.process.pid

    async def crash(self) -> None:
        """SIGKILL the warden."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        self.client.close()
        if self.node is not None:
            self.node.close()
            self.node = None

    async def ended(self) -> int:
        """Wait for the warden to end; its exit status."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def stop(self) -> None:
        """Kill whatever is left, end the warden, and look for leftovers."""
        try:
            if self.process is not None and self.process.returncode is None:
                await self._end_all()
        finally:
            self.client.close()
            if self.node is not None:
                self.node.close()
            for fd in self.masters.values():
                os.close(fd)
        await until(lambda: not self.left(), "nothing to be left")

    async def _end_all(self) -> None:
        assert self.process is not None
        try:
            await self.connect()
            for status in await self.client.list():
                await self.client.kill(status.guest_id)
                await self.client.forget(status.guest_id)
            await self.client.shutdown()
            await self.ended()
        except (WardenError, TimeoutError):
            self.process.kill()
            await self.process.wait()
            raise

    def left(self) -> list[str]:
        """What of this base directory is on the host; instance directories are the test's own."""
        found = leftovers.find(self.base, self.tag)
        return [what for what in found if not what.startswith("directory")]

    def instance(self, guest_id: int) -> Path:
        """The instance directory."""
        return self.base / str(guest_id)

    def spec(self, guest_id: int = 1, **changes: Any) -> ContainerSpec:
        """A container that waits for ever, with changes."""
        values: dict[str, Any] = {
            "guest_id": guest_id,
            "tag": self.tag,
            "instance_dir": str(self.instance(guest_id)),
            "filesystem": str(self.rootfs),
            "hostname": f"guest{guest_id}",
            "uuid": UUID,
            "memory_mib": 64,
        }
        return ContainerSpec(**(values | changes))

    async def create(self, spec: ContainerSpec) -> Created:
        """Build a container; its terminal is read from then on."""
        created, master = await self.client.create(spec)
        old = self.masters.pop(spec.guest_id, -1)
        if old >= 0:
            os.close(old)
        self.masters[spec.guest_id] = master
        return created

    async def launch(self, spec: ContainerSpec) -> Created:
        """Build and start."""
        self.exits.pop(spec.guest_id, None)
        created = await self.create(spec)
        await self.client.start(spec.guest_id)
        return created

    async def exit_of(self, guest_id: int) -> Exited:
        """Wait for the end of a container."""
        await until(lambda: guest_id in self.exits, f"the end of container {guest_id}")
        return self.exits[guest_id]

    async def status_once(self, guest_id: int, state: str) -> ContainerStatus:
        """What the warden says of a container once it is in `state`."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for status in await self.client.list():
                if status.guest_id == guest_id and status.state == state and (state != "exited" or status.exit):
                    return status
            assert time.monotonic() < deadline, f"container {guest_id} never was {state}"
            await asyncio.sleep(0.005)

    async def run_inside(self, script: str, guest_id: int = 1, **changes: Any) -> str:
        """Run a shell script as the init of a container; what it wrote to /out, once it has ended.

        The script sees `/bin` on its PATH. Anything on the terminal is read away, so that nobody waits for a reader.
        """
        await self.launch(self.spec(guest_id, init=sh(f"exec >/out 2>&1\n{script}"), **changes))
        await self.exit_of(guest_id)
        root = self.instance(guest_id) / "fs" if changes.get("snapshot", True) else Path(changes["filesystem"])
        text = (root / "out").read_text()
        await self.client.forget(guest_id)
        return text

    def console(self, guest_id: int) -> bytes:
        """All that the container has written to its terminal so far."""
        with contextlib.suppress(BlockingIOError, OSError):
            while chunk := os.read(self.masters[guest_id], 65536):
                self._consoles[guest_id] = self._consoles.get(guest_id, b"") + chunk
        return self._consoles.get(guest_id, b"")

    async def console_says(self, guest_id: int, text: bytes) -> None:
        """Wait until the terminal has shown `text`."""
        await until(lambda: text in self.console(guest_id), f"{text!r} on the console")


def sh(script: str) -> tuple[str, ...]:
    """An init that runs a shell script."""
    return ("/bin/sh", "-c", f"export PATH=/bin\n{script}")


def volume(source: Path, target: str) -> tuple[Volume, ...]:
    """One volume."""
    return (Volume(source=str(source), target=target),)


@contextlib.asynccontextmanager
async def running_host(base: Path, rootfs: Path) -> AsyncIterator[Host]:
    """A host with a warden, which is ended and looked after at the end."""
    host = Host(base, rootfs)
    try:
        await host.start()
        yield host
    finally:
        await host.stop()


def kill_hard(pid: int) -> None:
    """SIGKILL, if it still is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
