"""Tells whoever started this process how it is: the protocol of sd_notify(3), which is one datagram each time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_US = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"


class Notifier:
    """Speaks to a service manager, or to nobody."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        """Silence after which the manager ends this process; 0 if it does not watch."""
        self._status = ""
        self._is_stopping = False

    def ready(self, status: str = "") -> None:
        """It serves."""
        self._status = status
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def stopping(self) -> None:
        """It has begun to end; said once."""
        if not self._is_stopping:
            self._is_stopping = True
            self._send("STOPPING=1")

    def alive(self, status: str = "") -> None:
        """It is not hung; to be said at least twice in `watchdog_s`. A status is told when it has changed."""
        told = ["WATCHDOG=1"] if self.watchdog_s else []
        if status != self._status:
            self._status = status
            told.append(f"STATUS={status}")
        if told:
            self._send(*told)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.setblocking(False)
            out.sendto("\n".join(lines).encode(), self._address)


def take(environment: MutableMapping[str, str] | None = None) -> Notifier:
    """The notifier that the environment names, and none for the processes that this one starts."""
    where = os.environ if environment is None else environment
    address, watchdog_us, pid = (where.pop(name, "") for name in (SOCKET, WATCHDOG_US, WATCHDOG_PID))
    is_watched = watchdog_us.isascii() and watchdog_us.isdecimal() and pid in ("", str(os.getpid()))
    return Notifier(address, int(watchdog_us[:18]) / 1e6 if is_watched else 0.0)
