"""The control lane: one SOCK_SEQPACKET socketpair between the node and each child.

One JSON object a packet. It never queues behind work: the child's loop serves it beside everything else, and a child
that does not answer a ping counts as hung.

Child to node: `ready`, `pong`, `store_fd` and `drop_fd` (with a name), `fetch_fds`, and from the broker `call`. Node to
child: `ping`, `drain`, `stop`, `fd` (one per stored descriptor), `fds_end`, `answer`, `logging` (settings), to the
warden and to `host` `reaped`, to the broker `event`. A child that cannot run here says `refused` with one sentence, one
that ends because of a bug `last_words`; a warden that will not stop, `staying`, and for each record that the log ring
keeps, `record`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from bus.logs.logs import Log

MAX_PACKET = 64 * 1024
MAX_WORDS = 300
"""Characters of a sentence to the node."""
STORE_S = 1.0
"""How long a child waits for the node to make room for a descriptor, when it stores hundreds at once."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new control lane, non-blocking: the node's and the child's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def fork_with_lane() -> tuple[int, socket.socket, socket.socket]:
    """Fork; the pid as fork(2) gives it, and both ends of a new lane. Raises OSError, and then nothing is left."""
    ours, theirs = pair()
    try:
        return os.fork(), ours, theirs
    except OSError:
        ours.close()
        theirs.close()
        raise


def send(sock: socket.socket, packet: dict[str, Any], fd: int | None = None, *, wait_s: float = 0.0) -> bool:
    """Send one packet, waiting at most so long for room; False if there is none, or the peer is gone."""
    data = json.dumps(packet, separators=(",", ":")).encode()
    while True:
        try:
            if fd is None:
                sock.send(data)
            else:
                socket.send_fds(sock, [data], [fd])
            return True
        except BlockingIOError:
            if not wait_s or not _has_room(sock, wait_s):
                return False
        except OSError:
            return False


def _has_room(sock: socket.socket, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(wait_s * 1000))


def receive(sock: socket.socket) -> tuple[dict[str, Any], int | None] | None:
    """One packet and the descriptor that came with it, or None at the end of the lane.

    Raises BlockingIOError when there is nothing to read.
    """
    data, fds, _, _ = socket.recv_fds(sock, MAX_PACKET, 1)
    if not data:
        return None
    try:
        packet = json.loads(data)
    except ValueError:
        packet = {}
    fd = fds[0] if fds else None
    return (packet if isinstance(packet, dict) else {}), fd


def hand_back(lane: socket.socket, stored: dict[str, int]) -> None:
    """Give a child the descriptors that it has stored, or those up to the first that it does not take in time."""
    lane.settimeout(STORE_S)
    packets = [*(({"type": "fd", "name": name}, fd) for name, fd in stored.items()), ({"type": "fds_end"}, None)]
    all(send(lane, packet, fd) for packet, fd in packets)
    lane.setblocking(False)


class ControlLane:
    """The child's end, on the asyncio loop. Without a node (an actor started by hand) every call does nothing."""

    def __init__(
        self,
        sock: socket.socket | None,
        *,
        on_drain: Callable[[], None],
        on_stop: Callable[[], None],
        inbox: Callable[[], int],
        on_event: Callable[[dict[str, Any]], None] = lambda packet: None,
        log: Log | None = None,
    ) -> None:
        self._sock = sock
        self._on_drain = on_drain
        self._on_stop = on_stop
        self._inbox = inbox
        self._on_event = on_event
        self._log = log or Log("lane")
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._fds: dict[str, int] = {}
        self._fds_end: asyncio.Event = asyncio.Event()
        self.present = sock is not None
        self.lost = False
        """The node has gone without a word."""
        if sock is not None:
            asyncio.get_running_loop().add_reader(sock, self._read)

    def ready(self) -> None:
        """Tell the node that this actor serves."""
        self._send({"type": "ready"})

    def last_words(self, sentence: str) -> None:
        """Tell the node why this process is about to end by itself."""
        self._send({"type": "last_words", "message": sentence[:MAX_WORDS]})

    def store_fd(self, name: str, fd: int) -> None:
        """Give the node a copy of a descriptor, to be handed back after a restart."""
        if self._sock is not None:
            send(self._sock, {"type": "store_fd", "name": name}, fd, wait_s=STORE_S)

    def drop_fd(self, name: str) -> None:
        """Have the node close its copy."""
        self._send({"type": "drop_fd", "name": name})

    async def fetch_fds(self, timeout_s: float = 5.0) -> dict[str, int]:
        """Every stored descriptor of this actor by name; none without a node."""
        if self._sock is None:
            return {}
        self._fds_end.clear()
        self._send({"type": "fetch_fds"})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._fds_end.wait(), timeout_s)
        fds, self._fds = self._fds, {}
        return fds

    async def call(self, what: str, timeout_s: float = 5.0, **arguments: Any) -> dict[str, Any]:
        """Ask the node; raises TimeoutError, or ConnectionError without a node."""
        if self._sock is None:
            raise ConnectionError("there is no node: this process was started by hand")
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send({"type": "call", "call": number, "what": what, **arguments})
        try:
            return await asyncio.wait_for(future, timeout_s)
        finally:
            del self._calls[number]

    def close(self) -> None:
        """Leave the lane."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _send(self, packet: dict[str, Any]) -> None:
        if self._sock is not None:
            send(self._sock, packet)

    def _read(self) -> None:
        while self._sock is not None:
            try:
                received = receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                # The node is gone: a new one will start new children, so this one makes room.
                self.close()
                self.lost = True
                self._on_stop()
                return
            self._handle(*received)

    def _handle(self, packet: dict[str, Any], fd: int | None) -> None:
        match packet.get("type"):
            case "ping":
                self._send({"type": "pong", "n": packet.get("n"), "inbox": self._inbox()})
                self._log.outlet.flush()
            case "logging":
                self._log.adopt(packet.get("settings"))
            case "drain":
                self._on_drain()
            case "stop":
                self._on_stop()
            case "fd" if fd is not None:
                self._fds[str(packet.get("name"))] = fd
                return
            case "event" | "reaped":
                self._on_event(packet)
            case "fds_end":
                self._fds_end.set()
            case "answer":
                future = self._calls.get(int(packet.get("call", 0)))
                if future is not None and not future.done():
                    future.set_result(packet)
            case _:
                pass
        if fd is not None:
            os.close(fd)
