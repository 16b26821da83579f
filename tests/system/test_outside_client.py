"""A program that has only ZeroMQ and msgpack watches the product launch a container, and asks about it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.product import Console, Product

CLIENT = Path(__file__).parents[1] / "contract" / "outside_client.py"


@contextmanager
def outside_client(base: Path) -> Iterator[subprocess.Popen[str]]:
    """The client as a program that finds nothing of the checkout by itself."""
    argv = [sys.executable, "-I", "-u", str(CLIENT), str(base), "product"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


def test_an_outside_client_sees_a_launch_and_asks_for_the_vm(shared: Product, console: Console) -> None:
    with outside_client(shared.base) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "joined\n"
        console.ok("vm launch container outside")
        lines = client.stdout.read().splitlines()
        assert client.wait() == 0
    console.ok("vm kill outside")
    assert lines == [
        "vm/minimega/outside/launched/ outside BUILDING lost 0",
        "outside BUILDING container True",
        "unreachable at once",
        "lost [0, 0, 2, 0, 0]",
        "tail 2",
        "of ours: []",
    ]
