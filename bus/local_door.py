"""Whether there is a connection to the broker of this host now."""

from __future__ import annotations

import zmq
from zmq.utils.monitor import parse_monitor_message

from bus.errors import BusError


class LocalDoor:
    """The same as `bus.remote.Door` for a unix socket, where nothing can be refused."""

    watched = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
    trouble: BusError | None = None

    def __init__(self) -> None:
        self.is_open = False

    def heard(self, frames: list[bytes]) -> int:
        """Take in one message of the monitor; gives the event."""
        event = int(parse_monitor_message(frames)["event"])
        self.is_open = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        return event
