"""TCP ports for servers of tests, so that several processes of tests never choose the same."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

LOOPBACK: Final = "127.0.0.1"
FIRST: Final = 10_000
PART: Final = 2_000
PARTS: Final = 11
"""One for each process that runs tests; the last one ends below the ports that the kernel gives to clients."""


def _own() -> Iterator[int]:
    """The even ports of this process's part over and over, from anywhere: another run of tests may be under way."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    part = range(FIRST + number % PARTS * PART, FIRST + (number % PARTS + 1) * PART, 2)
    start = random.SystemRandom().randrange(len(part))
    return itertools.cycle([*part[start:], *part[:start]])


_ports = _own()


def free_port(host: str = LOOPBACK) -> int:
    """The first of two consecutive ports on which nobody listens; it is not given again for a long time."""
    for port in itertools.islice(_ports, PART // 2):
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind((host, port))
            other.bind((host, port + 1))
            return port
    raise AssertionError("no two free ports")
