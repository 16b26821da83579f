"""What a service manager is told, and that nobody else inherits its address."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.node import notify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Stands in for systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    """All that has been said."""
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_a_life(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000", "PATH": "/bin"}
    notifier = notify.take(environment)
    assert environment == {"PATH": "/bin"}
    assert notifier.watchdog_s == 3.0
    notifier.ready("all run")
    notifier.alive("all run")
    notifier.alive("vm failed")
    notifier.stopping()
    notifier.stopping()
    assert heard(manager) == ["READY=1\nSTATUS=all run", "WATCHDOG=1", "WATCHDOG=1\nSTATUS=vm failed", "STOPPING=1"]


def test_without_a_watchdog_only_news_are_told(manager: socket.socket) -> None:
    notifier = notify.take({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready()
    notifier.alive()
    notifier.alive("vm failed")
    assert heard(manager) == ["READY=1", "STATUS=vm failed"]


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0minibus-test-{os.getpid()}")
        notify.take({"NOTIFY_SOCKET": f"@minibus-test-{os.getpid()}"}).ready()
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "x"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
    ],
)
def test_whom_the_watchdog_means(variables: dict[str, str], watchdog_s: float) -> None:
    assert notify.take(variables).watchdog_s == watchdog_s


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "x" * 300])
def test_nobody_there_is_no_matter(address: str) -> None:
    notifier = notify.take({"NOTIFY_SOCKET": address})
    notifier.ready("x")
    notifier.stopping()
