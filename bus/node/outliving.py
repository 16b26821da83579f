"""Children that outlive their node: how the next node takes them over, and how long one waits for them at its end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bus.node import control
from bus.node.supervision import Child
from bus.processes import reap_soon, wait_for_end

OUTLIVING_S = 3.0
UNHEARD_S = 0.3


def connect(run: Path, name: str) -> socket.socket | None:
    """A control lane to a process that an earlier node has started, on `<run>/<name>.lane`; None if it takes none.

    It answers pings there as on the lane it was born with, so that a hang shows.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.connect(str(run / f"{name}.lane"))
    except OSError:
        sock.close()
        return None
    return sock


def wait(children: Iterable[Child], lanes: Mapping[str, socket.socket], pidfds: Mapping[str, int]) -> None:
    """Give those that own nothing the moment it takes to end, so that nothing of ours is left behind.

    All have been told to stop on their lanes. What has none (in `pidfds` alone) gets a short while.
    """
    for name, pidfd in pidfds.items():
        if name not in lanes:
            wait_for_end(pidfd, UNHEARD_S)
    for child in children:
        lane = lanes.get(child.spec.name)
        if lane is None or not child.alive:
            continue
        lane.settimeout(OUTLIVING_S)
        received: tuple[dict[str, Any], int | None] | None = ({}, None)
        with contextlib.suppress(OSError):
            while (received := control.receive(lane)) is not None and received[0].get("type") != "staying":
                pass
        if received is None:
            reap_soon(child.pid)
