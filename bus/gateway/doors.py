"""The sockets of the gateway: CURVE on TCP, who may come in (ZAP, ZeroMQ RFC 27), and cutting connections.

libzmq cannot close one connection of a socket. It tells the descriptor that a message came from, and shutdown(2) on
that ends the connection as if the other side had gone. A descriptor that was closed may be another's by then: so the
address of the other side is compared first.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from bus import codec
from bus.access.key_files import Pair
from bus.access.keys import Verdict
from bus.errors import UnavailableError
from bus.gateway.connections import MAX_CONNECTIONS, Connection, Connections
from bus.gateway.greed import Traffic
from bus.port import HIGH_WATER_MARK
from bus.pump import Origin, OriginPump, Pump
from bus.settings.listen_address import Endpoint
from bus.topics import MAX_TOPIC

ZAP = "inproc://zeromq.zap.01"
DOMAIN = b"minibus"
MECHANISM = b"CURVE"
HANDSHAKE_MS = 5_000
KEEPALIVE_S = 10
GONE_MS = 30_000
"""A client is gone that the network does not reach for so long, or that takes nothing of what waits for it.

By TCP alone: heartbeats of libzmq (4.3) end the whole process with an assertion if one is due for a connection that has
closed while messages of it were still waiting to be looked at.
"""
REQUESTS_QUEUE = 1_000
"""Answers that wait for one client."""
UNREAD = 100
"""Messages of one client that wait to be looked at; then it has to wait itself."""
EVENTS_QUEUE = 2_000
"""Events that wait for one client, before further ones are dropped; `topic_seq` shows it to the client."""
LINGER_MS = 200
SLACK = 64 * 1024
"""What a request may be longer on the wire than a body."""
ACKED = 120
ACKED_RECEIVED_UNSENT = struct.Struct("=QQ8xI")
"""`tcpi_bytes_acked`, `tcpi_bytes_received` and `tcpi_notsent_bytes` in the kernel's struct tcp_info, and where."""
TCP_INFO_BYTES = ACKED + ACKED_RECEIVED_UNSENT.size
MONITORED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED


class Doors(NamedTuple):
    """What the gateway does with what comes in."""

    judge: Callable[[str, str], Verdict]
    """A public key and an address want to come in."""
    request: Callable[[Origin, list[bytes]], None]
    subscription: Callable[[Origin, bytes], None]
    closed: Callable[[int, bytes], None]
    """The connection with this descriptor, and this identity if it was one for requests, is no more."""
    refused: Callable[[str, str], None]
    """A connection was cut: of whom and why."""


class GatewaySockets:
    """See the module. Raises UnavailableError if one of the ports cannot be had."""

    def __init__(self, endpoint: Endpoint, pair: Pair, doors: Doors, connections: Connections) -> None:
        self._doors = doors
        self._connections = connections
        self._tainted = False
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pumps: list[Pump] = []
        self._monitors: list[Pump] = []
        zap = self._zmq.socket(zmq.ROUTER)
        zap.setsockopt(zmq.LINGER, 0)
        zap.bind(ZAP)  # before the others: without it libzmq would let in every key
        self._zap = Pump(zap, self._on_zap)
        self._pumps.append(self._zap)
        try:
            router = self._bound(zmq.ROUTER, endpoint.requests, pair, REQUESTS_QUEUE, codec.MAX_BODY + SLACK)
            xpub = self._bound(zmq.XPUB, endpoint.events, pair, EVENTS_QUEUE, 2 * MAX_TOPIC)
        except BaseException:
            self.close()
            raise
        self.requests = OriginPump(router, self._on_request)
        self.events = OriginPump(xpub, self._on_subscription, self._on_no_more_subscriptions)
        self._xpub = xpub
        self._pumps += (self.requests, self.events)

    def close(self) -> None:
        """Close all of them; harmless when repeated."""
        for pump in self._pumps:
            pump.close()
        self._zmq.destroy(linger=LINGER_MS)

    def _bound(self, kind: int, where: str, pair: Pair, queue: int, max_bytes: int) -> zmq.Socket[bytes]:
        sock = self._zmq.socket(kind)
        door = int(where.rpartition(":")[2])
        for option, value in (
            (zmq.LINGER, LINGER_MS),
            (zmq.SNDHWM, queue),
            (zmq.RCVHWM, UNREAD),
            (zmq.MAXMSGSIZE, max_bytes),
            (zmq.CURVE_SERVER, 1),
            (zmq.CURVE_SECRETKEY, pair.secret.encode()),
            (zmq.ZAP_DOMAIN, DOMAIN),
            (zmq.ZAP_ENFORCE_DOMAIN, 1),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S),
            (zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_S),
            (zmq.TCP_MAXRT, GONE_MS),
            (zmq.BACKLOG, 512),
            (zmq.IPV6, int(":" in where.removeprefix("tcp://").rpartition(":")[0])),
            (zmq.ROUTER_MANDATORY if kind == zmq.ROUTER else zmq.XPUB_MANUAL, 1),
        ):
            sock.setsockopt(option, value)
        monitor = Pump(sock.get_monitor_socket(MONITORED), partial(self._on_monitor, door))
        self._monitors.append(monitor)
        self._pumps.append(monitor)
        try:
            sock.bind(where)
        except zmq.ZMQError as error:
            sock.close(linger=0)
            absent = "this host has no such address"
            why = absent if error.errno == errno.EADDRNOTAVAIL else os.strerror(error.errno or 0)
            raise UnavailableError(f"the gateway cannot listen on {where}: {why}") from None
        return sock

    def listener(self, where: str, on_event: Callable[[list[bytes]], None]) -> zmq.Socket[bytes]:
        """The connection to the broker on which the events arrive that clients want."""
        sub = self._zmq.socket(zmq.SUB)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, HIGH_WATER_MARK),
            (zmq.MAXMSGSIZE, codec.MAX_BODY),
            (zmq.RECONNECT_IVL, 20),
            (zmq.RECONNECT_IVL_MAX, 200),
        ):
            sub.setsockopt(option, value)
        sub.connect(where)
        self._pumps.append(Pump(sub, on_event))
        return sub

    # --- coming in

    def _on_zap(self, frames: list[bytes]) -> None:
        identity, empty, version, request_id, _domain, address, _, mechanism, *credentials = frames
        status, user = b"400", b""
        if mechanism == MECHANISM and len(credentials) == 1 and len(credentials[0]) == 32:
            public = z85.encode(credentials[0])
            if self._connections.is_banished(public.decode(), time.monotonic()):
                status = b"300"  # libzmq hangs up; to 400 it adds a word that ends the client's tries
            elif not self._doors.judge(public.decode(), address.decode("utf-8", "replace")[:64]).trouble:
                status, user = b"200", public
        self._zap.send([identity, empty, version, request_id, status, b"", user, b""])

    def _on_monitor(self, door: int, frames: list[bytes]) -> None:
        """A connection came or went, at one of the two ports.

        Each port tells of its own in order, but one may be heard before the other; and a number that one has done with
        is soon the other's. So what the kernel says of a descriptor counts, and nobody ends the other's.
        """
        event = parse_monitor_message(frames)
        fd = int(event["value"])
        if event["event"] == zmq.EVENT_DISCONNECTED:
            self._forget(self._connections.gone(fd, door))
        elif (peer := _peer(fd)) is not None and peer.door == door:
            self._forget(self._connections.gone(fd))
            why = self._connections.accepted(fd, peer.address, peer.port, time.monotonic(), door)
            if why:
                self.cut(fd, why)
            elif (crowded_out := self._connections.crowded_out()) is not None:
                self.cut(crowded_out, f"{MAX_CONNECTIONS} connections are open")

    def _forget(self, gone: Connection | None) -> None:
        if gone is not None:
            self._doors.closed(gone.fd, gone.identity)

    def look(self) -> None:
        """Hear of all connections that came and went: what they say comes over other sockets, and not in order."""
        for pump in self._monitors:
            pump.look()

    def _on_request(self, frames: list[bytes]) -> None:
        origin = self.requests.origin
        self._greet(origin, frames[0])
        self._doors.request(origin, frames)

    def _on_subscription(self, frames: list[bytes]) -> None:
        """A frame of a subscriber.

        After anything that is no subscription libzmq (4.3) confuses whose the following ones are, until none waits:
        an XPUB_MANUAL socket notes the senders of subscriptions alone. Then nobody can be given anything.
        """
        origin, frame = self.events.origin, frames[0]
        if not origin.user:
            return  # the library's own: what a connection had that is closed
        self._greet(origin)
        if len(frames) > 1 or frame[:1] not in (b"\x00", b"\x01"):
            self._tainted = True
            self.cut(origin.fd, "it sent something that is no subscription", banish=True)
        elif self._tainted:
            self.cut(origin.fd, "another client confused the socket for events; this one may come back at once")
        elif self._is_there(origin.fd):  # else libzmq might already take another one for it
            self._doors.subscription(origin, frame)

    def _on_no_more_subscriptions(self) -> None:
        self._tainted = False

    def _greet(self, origin: Origin, identity: bytes = b"") -> None:
        known = self._connections.by_fd.get(origin.fd)
        if known is None or known.public != origin.user or known.identity != identity:
            self.look()
            why = self._connections.spoke(origin.fd, origin.user, identity)
            if why:
                self.cut(origin.fd, why)

    def traffic(self, published_bytes: int) -> dict[int, Traffic]:
        """Of each connection; so much was published so far."""
        found: dict[int, Traffic] = {}
        for fd, known in self._connections.by_fd.items():
            try:
                with socket.socket(fileno=os.dup(fd)) as same:
                    info = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            except OSError:
                continue
            if len(info) == TCP_INFO_BYTES:
                acked, received, unsent = ACKED_RECEIVED_UNSENT.unpack_from(info, ACKED)
                found[fd] = Traffic(received, acked, unsent, known.offered_bytes if known.identity else published_bytes)
        return found

    # --- what goes out

    def give(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> None:
        """Change what the connection gets whose subscription is being handled."""
        for prefix in subscribe:
            self._xpub.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        for prefix in unsubscribe:
            self._xpub.setsockopt(zmq.UNSUBSCRIBE, prefix.encode())

    def _is_there(self, fd: int) -> bool:
        """Whether this descriptor still is the connection that it was: when that has gone, the number is given anew."""
        known, peer = self._connections.by_fd.get(fd), _peer(fd)
        return known is not None and peer is not None and (known.peer, known.door) == (str(peer), peer.door)

    def cut(self, fd: int, why: str, *, banish: bool = False) -> None:
        """End a connection now; its client can try to come back, after a while if its key is banished."""
        known = self._connections.by_fd.get(fd)
        if known is None or known.cut or not self._is_there(fd):
            return  # it has gone by itself, and the number may be another's
        self._connections.cutting(known)
        if banish:
            self._connections.banish(known.public, time.monotonic())
        self._doors.refused(known.peer, why)
        try:
            with socket.socket(fileno=os.dup(fd)) as same:
                same.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class _Peer(NamedTuple):
    """The other side of a connection, and the port that it came to."""

    address: str
    port: int
    door: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def _peer(fd: int) -> _Peer | None:
    try:
        with socket.socket(fileno=os.dup(fd)) as same:
            address, port, *_ = same.getpeername()
            return _Peer(str(address), int(port), int(same.getsockname()[1]))
    except (OSError, ValueError, IndexError):
        return None
