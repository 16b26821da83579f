"""A client on another host: where the gateway is, the keys to it, and why a connection does not come about.

libzmq tries again for ever and tells nobody: only the monitor of a socket says what went wrong (zmq_socket_monitor(3)).
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from bus.access.key_files import ClientFile, read_client_file
from bus.access.keys import utc_text
from bus.errors import BusError, DeniedError, InvalidError, UnreachableError
from bus.paths import Context, host_name
from bus.settings.listen_address import Endpoint, parse_endpoint

RECONNECT_MS = 100
RECONNECT_MAX_MS = 2_000
KEEPALIVE_S = 5
GONE_MS = 15_000
"""The other side is gone if the network does not reach it for so long.

By TCP alone: heartbeats of libzmq (4.3) end the whole process with an assertion if one is due for a connection that has
closed while messages of it were still waiting to be read.
"""
HANDSHAKE_MS = 5_000
CONNECT_MS = 5_000


class Remote(NamedTuple):
    """A gateway and the keys to it."""

    endpoint: Endpoint
    keys: ClientFile

    @property
    def name(self) -> str:
        """Of the key."""
        return self.keys.name

    @property
    def requests(self) -> str:
        """Connect a DEALER."""
        return self.endpoint.requests

    @property
    def events(self) -> str:
        """Connect a SUB."""
        return self.endpoint.events

    def __str__(self) -> str:
        return str(self.endpoint)


def remote(address: str, key_file: Path | str) -> Remote:
    """A gateway from its address (`tcp://HOST:PORT`, empty: the one that the file names) and a client's file.

    Raises InvalidError, NotFoundError or DeniedError.
    """
    keys = read_client_file(Path(key_file))
    if not (address or keys.address):
        raise InvalidError(f"{key_file} does not say where the gateway is: give its address, e.g. tcp://kn1:9200")
    return Remote(parse_endpoint(address or keys.address), keys)


def remote_context() -> Context:
    """What a port is told about where it runs when there is no minibus on this host: its name, and nothing else."""
    return Context(base=Path(), host=host_name(), tag="", files_dir=Path())


def arm(sock: zmq.Socket[bytes], remote: Remote) -> None:
    """Let a socket that is not connected yet prove who it is, ask for the right server, and see silent losses."""
    sock.setsockopt(zmq.CURVE_PUBLICKEY, remote.keys.public.encode())
    sock.setsockopt(zmq.CURVE_SECRETKEY, remote.keys.secret.encode())
    sock.setsockopt(zmq.CURVE_SERVERKEY, remote.keys.server.encode())
    # With this set libzmq takes a name's IPv6 address if it has one, and tries no other: names stand for IPv4 then.
    sock.setsockopt(zmq.IPV6, int(":" in remote.endpoint.host))
    for option, value in (
        (zmq.RECONNECT_IVL, RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS),
        (zmq.TCP_KEEPALIVE, 1),
        (zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S),
        (zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_S),
        (zmq.TCP_MAXRT, GONE_MS),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.CONNECT_TIMEOUT, CONNECT_MS),
    ):
        sock.setsockopt(option, value)


WATCHED = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""Events of a monitor that `Door` wants."""


class Door:
    """What becomes of one remote connection, from the events of its monitor."""

    watched = WATCHED

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.is_open = False
        self.trouble: BusError | None = None
        """Why it is not open; None while that is not known."""

    def heard(self, frames: list[bytes]) -> int:
        """Take in one message of the monitor; gives the event."""
        event = parse_monitor_message(frames)
        self.happened(int(event["event"]), int(event["value"]))
        return int(event["event"])

    def happened(self, event: int, value: int) -> None:
        """Take in one event and its value (zmq_socket_monitor(3))."""
        where, name = self._remote, self._remote.name
        match event:
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_open, self.trouble = True, None
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.trouble = DeniedError(self._refusal())
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL if value == errno.EAGAIN:
                self.trouble = UnreachableError(f"what listens at {where} does not answer as minibus does")
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                # A server with another key cannot even read the first message, and hangs up.
                self.trouble = UnreachableError(
                    f"{where} hangs up before it knows the key {name}: it has another server key than the file of"
                    f" {name} says, is no gateway of minibus, or takes no more connections"
                )
            case zmq.EVENT_DISCONNECTED:
                self.is_open = False
            case zmq.EVENT_CLOSED if not self.is_open and not isinstance(self.trouble, DeniedError):
                self.trouble = UnreachableError(f"nobody listens at {where}")
            case zmq.EVENT_CONNECT_RETRIED if not self.is_open and self.trouble is None:
                self.trouble = UnreachableError(f"there is no way to {where}: is the name of the host right?")
            case _:
                pass

    def _refusal(self) -> str:
        """The other side says only that it refuses; when the key ends stands in its file."""
        refused = f"minibus at {self._remote} refuses the key {self._remote.name}"
        if self._remote.keys.expires and utc_text(time.time()) >= self._remote.keys.expires:
            return f"{refused}: it expired at {self._remote.keys.expires}"
        return f"{refused}: it is unknown there, was revoked or has expired"
