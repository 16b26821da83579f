"""A host for tests of the client library: broker, command server, owner of namespaces, plumber, and a toy `vm`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bus
from bus.messages.control import GetStatus
from tests.integration.processes import kill
from tests.ports import free_port
from tests.system.patience import FACTOR

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0 * FACTOR
MODULES = {
    "broker": ("bus.broker",),
    "cli": ("cli.server",),
    "namespace": ("actors.namespace",),
    "plumber": ("actors.plumber",),
    "vm": ("tests.integration.toys", "vm"),
    "gateway": ("bus.gateway",),
}
LOCAL = ("broker", "cli", "namespace", "plumber", "vm")


class ClientHost:
    """See the module."""

    def __init__(self, base: Path, kinds: tuple[str, ...]) -> None:
        self.base = base
        self.kinds = kinds
        self.address = f"tcp://127.0.0.1:{free_port()}"
        """Of the gateway, if there is one."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str) -> None:
        """Start one of them without waiting for it."""
        module, *words = MODULES[kind]
        arguments = [*words, str(self.base)] if words else ["--base", str(self.base)]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            self.processes[kind] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stderr=stderr,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "MINIBUS_LISTEN": self.address},
            )

    def key(self, name: str, *flags: str) -> Path:
        """Make a key; the client's file."""
        file = self.base / f"{name}.toml"
        words = ("key", "make", name, *flags, "--base", str(self.base), "--out", str(file), "--address", self.address)
        subprocess.run([sys.executable, "-m", "cli.main", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return file

    def revoke(self, name: str) -> None:
        """Revoke a key."""
        words = ("key", "revoke", name, "--base", str(self.base))
        subprocess.run([sys.executable, "-m", "cli.main", *words], cwd=ROOT, check=True)

    def kill(self, kind: str) -> None:
        """SIGKILL, and wait until it is gone."""
        kill(self.processes.pop(kind))

    def restart(self, kind: str) -> None:
        """SIGKILL, and start another without waiting for it."""
        self.kill(kind)
        self.start(kind)

    def serves(self) -> None:
        """Wait until all of them answer."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            try:
                with bus.connect_sync(self.base) as client:
                    for kind in self.kinds:
                        client.ask(kind, GetStatus(), timeout_s=1.0)
                    return
            except bus.BusError as error:
                assert time.monotonic() < deadline_s, f"the host does not serve: {error}"
            time.sleep(0.05)

    def end(self) -> None:
        """Kill what still runs."""
        for kind in tuple(self.processes):
            with suppress(ProcessLookupError):
                self.kill(kind)


@contextmanager
def client_host(kinds: tuple[str, ...] = LOCAL) -> Iterator[ClientHost]:
    """A host on which these serve; nothing is left afterwards."""
    base = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    host = ClientHost(base, kinds)
    try:
        for directory in ("run", "state", "bus", "log", "files"):
            (base / directory).mkdir(mode=0o700)
        for kind in kinds:
            host.start(kind)
        host.serves()
        yield host
    finally:
        host.end()
        shutil.rmtree(base)
