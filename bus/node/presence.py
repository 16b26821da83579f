"""Whether minibus runs on a base directory, as far as the asking user can tell."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from bus.access.group import denied
from bus.errors import DeniedError
from bus.lock import holder
from bus.paths import Paths

PATIENCE_S = 0.1
"""A socket that was made a moment ago does not belong to the group yet."""
PAUSE_S = 0.02
CONNECT_S = 1.0
LOCKS = ("node.lock", "broker.lock")


def is_running(base: Path) -> bool:
    """Whether a node or a broker runs; raises DeniedError if this user may not use it.

    Root sees that from their locks, others from the broker's socket.
    """
    paths = Paths(base)
    try:
        paths.run.joinpath(LOCKS[0]).exists()
    except PermissionError:
        return is_served(paths.requests, base)
    return any(holder(paths.run / lock) for lock in LOCKS)


def is_served(path: Path, base: Path) -> bool:
    """Whether somebody accepts connections at a unix socket; raises DeniedError."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_S)
            try:
                probe.connect(str(path))
            except PermissionError:
                if time.monotonic() >= deadline_s:
                    raise DeniedError(denied(base)) from None
            except OSError as error:
                return isinstance(error, TimeoutError | BlockingIOError)  # it is there, and busy
            else:
                return True
        time.sleep(PAUSE_S)
