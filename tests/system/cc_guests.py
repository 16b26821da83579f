"""Containers with the agent in them, commanded as users do it: by commands of the command socket."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.system.product import CommandError, Console, Product, until

DONE = frozenset({"exited", "signaled", "failed", "timeout", "killed", "unknown"})
CONNECT_S = 60.0
WAIT_S = 60.0
RESPONSES = "files/miniccc_responses"


class Guests:
    """The containers of one namespace; `console` may be replaced by a new one after the end of the old."""

    def __init__(self, product: Product, console: Console) -> None:
        self.product = product
        self.console = console
        self.uuids: dict[str, str] = {}
        """By name."""
        self.ids: dict[str, str] = {}

    def launch(self, names: str, count: int, patience_s: float = CONNECT_S) -> None:
        """Launch and start; all their agents are connected afterwards."""
        self.console.ok(f"vm launch container {names}", "vm start all")
        self.look()
        assert len(self.uuids) == count
        self.connected(count, patience_s)

    def look(self) -> None:
        """Learn names and UUIDs."""
        rows = self.console.rows()
        self.uuids = {row["name"]: row["uuid"] for row in rows}
        self.ids = {row["name"]: row["id"] for row in rows}

    def connected(self, count: int, patience_s: float = CONNECT_S) -> None:
        """Wait until so many agents are connected."""
        until(lambda: self.clients() == count, f"{count} agents to be connected", patience_s)

    def clients(self) -> int:
        """How many agents are connected."""
        return int(self.console.rows("cc")[0]["clients"])

    def post(self, line: str) -> int:
        """Give a command; its id."""
        (response,) = self.console.command(line)
        if response["Error"]:
            raise CommandError(response["Error"])
        return int(response["Data"])

    def outcomes(self, number: int) -> dict[str, dict[str, Any]]:
        """How far each guest is, by VM name."""
        (response,) = self.console.command(f"cc outcomes {number}")
        if response["Error"]:
            raise CommandError(response["Error"])
        return {row["vm"]: row for row in response["Data"].get("outcomes", ())}

    def wait(self, number: int, count: int, patience_s: float = WAIT_S) -> dict[str, dict[str, Any]]:
        """Until a command has ended in so many guests; a connection that breaks is opened again."""
        deadline_s = time.monotonic() + patience_s
        rows: dict[str, dict[str, Any]] = {}
        while True:
            with contextlib.suppress(OSError, CommandError):
                self.console.command(f"cc wait {number} 1s")
                rows = self.outcomes(number)
                if sum(row["state"] in DONE for row in rows.values()) >= count:
                    return rows
            open_ones = [row for row in rows.values() if row["state"] not in DONE]
            assert time.monotonic() < deadline_s, f"command {number}: {len(rows)} guests, not ended: {open_ones[:3]}"
            self.answers()

    def answers(self) -> None:
        """Have a connection that works."""
        with contextlib.suppress(OSError):
            self.console.command("cc")
            return
        self.console.close()

        def is_back() -> bool:
            with contextlib.suppress(OSError):
                self.console = self.product.console()
                return True
            return False

        until(is_back, "the command socket")

    def run(self, line: str, patience_s: float = WAIT_S) -> dict[str, dict[str, Any]]:
        """Give a command and wait until all have done it."""
        return self.wait(self.post(line), len(self.uuids), patience_s)

    def response(self, number: int, name: str, path: str = "stdout") -> Path:
        """Where something that came back lies."""
        return self.product.base / RESPONSES / str(number) / self.uuids[name] / path.lstrip("/")

    def inside(self, name: str, path: str) -> Path:
        """A file in the root of a guest, seen from the host."""
        return self.product.inside(self.ids[name]) / path.lstrip("/")

    def agents(self, name: str) -> list[int]:
        """Pids of the agent in a guest: one, or none."""
        (own,) = [row["pid"] for row in self.console.rows() if row["name"] == name]
        return [child.pid for child in psutil.Process(int(own)).children() if child.name() == "minibus-agent"]


def most_memory_mib(pid: int) -> float:
    """Most memory that a process ever had (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def guests_on(product: Product) -> Iterator[Guests]:
    """A connection, and the configuration for containers with an agent."""
    with product.configured() as console:
        guests = Guests(product, console)
        try:
            yield guests
        finally:
            guests.console.close()


def states(rows: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
    """Which states and errors there are among outcomes."""
    return {(row["state"], row.get("error", "")) for row in rows.values()}
