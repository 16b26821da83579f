"""A host for tests of the client library: broker, command server, owner of namespaces, plumber, and a toy `vm`."""

from __future__ import annotations

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

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0
MODULES = {
    "broker": ("bus",),
    "cli": ("cli.server",),
    "namespace": ("actors.namespace",),
    "plumber": ("actors.plumber",),
    "vm": ("tests.integration.toys", "vm"),
}


class ClientHost:
    """See the module."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str) -> None:
        """Start one of them without waiting for it."""
        module, *words = MODULES[kind]
        arguments = [*words, str(self.base)] if words else ["--base", str(self.base)]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            self.processes[kind] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stderr=stderr, stdout=subprocess.DEVNULL, cwd=ROOT
            )

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
                    for kind in MODULES:
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
def client_host() -> Iterator[ClientHost]:
    """A host that serves; nothing is left afterwards."""
    base = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    host = ClientHost(base)
    try:
        for directory in ("run", "state", "bus", "log", "files"):
            (base / directory).mkdir(mode=0o700)
        for kind in MODULES:
            host.start(kind)
        host.serves()
        yield host
    finally:
        host.end()
        shutil.rmtree(base)
