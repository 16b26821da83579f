"""A host with a gateway: broker, plumber, a toy `vm` and the gateway, started by hand; and clients with keys to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path

import msgspec

from bus.access.key_files import ClientFile, KeyStore, client_toml, new_pair
from bus.access.keys import Key, Role
from bus.client import connect
from bus.errors import BusError
from bus.messages.control import GetStatus
from bus.messages.gateway import ReloadKeys
from bus.port import Port
from bus.remote import Remote, remote_context
from bus.settings.listen_address import LISTEN, Endpoint
from tests.integration.processes import kill, until
from tests.ports import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]
MODULES = {
    "broker": ("bus.broker",),
    "plumber": ("actors.plumber",),
    "gateway": ("bus.gateway",),
    "vm": ("tests.integration.toys", "vm"),
}
WITH_LIMIT = """
import sys
from pathlib import Path
from bus.gateway import gateway
gateway.MAX_RSS_BYTES = int(sys.argv[1]) << 20
sys.exit(gateway.Gateway.run_process(Path(sys.argv[2]), None))
"""


class GatewayHost:
    """See the module."""

    def __init__(self, base: Path, memory_mib: int) -> None:
        self.base = base
        self._memory_mib = memory_mib
        self.endpoint = Endpoint(LOOPBACK, free_port())
        self.store = KeyStore(base / "keys")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = count(1)

    def key_file(self, remote: Remote) -> Path:
        """What `minibus key make` writes."""
        path = self.base / f"{remote.name}.toml"
        path.write_text(client_toml(msgspec.structs.replace(remote.keys, address=str(self.endpoint))))
        return path

    def start(self, kind: str) -> None:
        """Start one of them without waiting for it."""
        module, *words = MODULES[kind]
        arguments = ["-m", module, *([*words, str(self.base)] if words else ["--base", str(self.base)])]
        if kind == "gateway" and self._memory_mib:
            arguments = ["-c", WITH_LIMIT, str(self._memory_mib), str(self.base)]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            self.processes[kind] = subprocess.Popen(
                [sys.executable, *arguments],
                stderr=stderr,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, LISTEN: str(self.endpoint)},
            )

    def restart(self, kind: str) -> None:
        """SIGKILL, and start another without waiting for it."""
        kill(self.processes.pop(kind))
        self.start(kind)

    def revive(self) -> None:
        """Start again what has ended by itself, as the node would."""
        for kind, process in list(self.processes.items()):
            if process.poll() is not None:
                self.start(kind)

    def said(self, kind: str) -> str:
        """What it logged."""
        return (self.base / f"{kind}.err").read_text()

    async def serves(self) -> None:
        """Wait until all of them answer."""

        async def answers() -> bool:
            with suppress(BusError):
                async with connect(self.base) as port:
                    for kind in MODULES:
                        await port.ask(kind, GetStatus(), timeout_s=1.0)
                    return True
            return False

        await until(answers, 20.0)

    async def reload(self) -> None:
        """Have the gateway read the keys now."""
        async with connect(self.base) as port:
            await port.ask("gateway", ReloadKeys(), timeout_s=5.0)

    async def make(self, role: Role = Role.CONTROL, name: str = "", **limits: object) -> Remote:
        """A new key that the gateway knows; its name is new too unless it is given."""
        pair = new_pair()
        key = Key(name=name or f"{role.value}{next(self._numbers)}", public=pair.public, role=role, **limits)  # type: ignore[arg-type]
        self.store.change(lambda ring: ring.added(key))
        await self.reload()
        return self.remote(key.name, pair.public, pair.secret)

    def remote(self, name: str, public: str, secret: str, server: str = "") -> Remote:
        """A client's view of this host."""
        server = server or self.store.server_pair().public
        return Remote(self.endpoint, ClientFile(name=name, public=public, secret=secret, server=server))

    async def revoke(self, remote: Remote) -> None:
        """Revoke a key, and have the gateway know."""
        self.store.change(lambda ring: ring.revoked(remote.name, 1.0))
        await self.reload()

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()


@contextmanager
def gateway_host(memory_mib: int = 0) -> Iterator[GatewayHost]:
    """A host of which the processes have been started; nothing is left afterwards.

    With `memory_mib` the gateway finds that more is too much.
    """
    base = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    host = GatewayHost(base, memory_mib)
    try:
        for directory in ("run", "state", "bus", "log", "files"):
            (base / directory).mkdir(mode=0o700)
        for kind in MODULES:
            host.start(kind)
        yield host
    finally:
        host.end()
        shutil.rmtree(base)


@asynccontextmanager
async def client(remote: Remote) -> AsyncIterator[Port]:
    """A connected client."""
    port = Port(remote_context(), remote=remote)
    try:
        await port.open()
        yield port
    finally:
        await port.close()
