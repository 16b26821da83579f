"""Node and actors under something that speaks as systemd does: sd_notify(3)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import toys
from tests.integration.running_node import node, until

ROOT = Path(__file__).parents[2]


class Manager:
    """A socket at which it is told how things are."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.said: list[str] = []

    def has_heard(self, *lines: str) -> bool:
        """Whether these came, in any packets, in this order."""
        while True:
            try:
                self.said += self._listening.recv(4096).decode().splitlines()
            except BlockingIOError:
                break
        rest = iter(self.said)
        return all(line in rest for line in lines)


@pytest.fixture
def manager(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Named by the environment of what is started, with a watchdog."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(base_dir / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(base_dir / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        yield Manager(listening)


def test_a_node(base_dir: Path, manager: Manager) -> None:
    (base_dir / "stand").touch()
    with node(base_dir, "first", "faller") as running:
        assert running.said() == "ready\n"
        until(lambda: manager.has_heard("READY=1", "STATUS=all 2 processes run", "WATCHDOG=1"))
        (base_dir / "stand").unlink()
        os.kill(running.pids("faller")[0], signal.SIGKILL)
        until(lambda: manager.has_heard("STATUS=all 2 processes run", "STATUS=faller failed"))
        assert running.stop() == 0
        until(lambda: manager.has_heard("READY=1", "STATUS=faller failed", "STOPPING=1"))
        assert manager.said.count("READY=1") == manager.said.count("STOPPING=1") == 1


def test_an_actor_by_hand(base_dir: Path, manager: Manager) -> None:
    with toys(base_dir) as processes:
        vm = processes.start("vm")
        until(lambda: "waits_for_broker" in processes.said("vm"))
        assert not manager.has_heard("READY=1")
        processes.start("broker")
        until(lambda: manager.has_heard("READY=1", "READY=1", "WATCHDOG=1"))
        vm.terminate()
        assert vm.wait(10) == 0
        until(lambda: manager.has_heard("READY=1", "STOPPING=1"))


@pytest.mark.parametrize(
    ("module", "variable", "sentence"),
    [
        ("bus.gateway", "MINIBUS_LISTEN", "it was not said where to listen: set MINIBUS_LISTEN"),
        ("actors.metrics", "MINIBUS_METRICS", "it was not said where to serve metrics: set MINIBUS_METRICS"),
    ],
)
def test_who_can_never_serve_waits_for_nobody(base_dir: Path, module: str, variable: str, sentence: str) -> None:
    environment = {**os.environ, variable: ""}
    argv = [sys.executable, "-m", module, "--base", str(base_dir)]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "waits_for_broker" not in done.stderr
