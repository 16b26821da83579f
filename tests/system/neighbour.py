"""What a well-behaved client of the command socket notices of the others, and what they leave in the server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.system.product import PATIENCE_S, Product, until

NEIGHBOUR_S = 5.0
"""How long another client may have to wait while somebody does his worst."""
MEMORY_MIB = 200
"""By how much the command server may grow under any of this."""


def raw(product: Product) -> socket.socket:
    """A connection that sends whatever one likes."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE_S)
    client.connect(str(product.base / "minimega"))
    return client


def answers(client: socket.socket) -> list[dict[str, object]]:
    """Every reply up to the end of the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(1 << 20):
            data += chunk
    return [json.loads(line) for line in data.splitlines()]


def descriptors(pid: int) -> dict[str, str]:
    """What a process has open."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


def wait_for_descriptors(pid: int, before: dict[str, str]) -> None:
    """Wait until a process has no more open than it had; fails naming what it has."""
    try:
        until(lambda: len(descriptors(pid)) <= len(before), "closed connections to be let go")
    except AssertionError as error:
        now = descriptors(pid)
        raise AssertionError(f"left open: { ({fd: now[fd] for fd in now if now[fd] != before.get(fd)}) }") from error


@contextlib.contextmanager
def neighbour_of(product: Product) -> Iterator[None]:
    """Another client, which must be served all the time by a server that neither grows nor leaks."""
    server = psutil.Process(product.pid("cli"))
    before_mib, open_before = server.memory_info().rss / 2**20, descriptors(server.pid)
    slowest_s = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal slowest_s
        with product.console() as other:
            while not done.wait(0.01):
                begun_s = time.monotonic()
                other.ok("echo there")
                slowest_s = max(slowest_s, time.monotonic() - begun_s)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert product.pid("cli") == server.pid, "the command server fell"
    assert slowest_s < NEIGHBOUR_S
    wait_for_descriptors(server.pid, open_before)
    assert server.memory_info().rss / 2**20 - before_mib < MEMORY_MIB
