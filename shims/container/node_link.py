"""The warden's end of the node's control lane: JSON packets on a SOCK_SEQPACKET socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from bus.logs.log_format import Line
from bus.logs.logs import Log
from shims.container.loop import Loop

_MAX_PACKET: Final = 64 * 1024


class Node(Protocol):
    """What the node can ask."""

    def reaped(self, pid: int, status: int) -> None:
        """A process that is the node's child now has ended with this wait status."""

    def stop(self) -> None:
        """End, unless containers are left."""


class NodeLink:
    """Speaks with the node, or with nobody if there is none."""

    def __init__(
        self, sock: socket.socket | None, loop: Loop, handler: Node, inbox: Callable[[], int], log: Log
    ) -> None:
        self._log = log
        self._sock: socket.socket | None = None
        self._loop = loop
        self._handler = handler
        self._inbox = inbox
        if sock is not None:
            self._attach(sock)

    @property
    def is_up(self) -> bool:
        """Whether there is a node."""
        return self._sock is not None

    def adopted(self, sock: socket.socket) -> None:
        """Speak with a new node from now on."""
        self.close()
        self._attach(sock)
        self.ready()

    def ready(self) -> None:
        """Say that the warden serves."""
        self._send({"type": "ready"})

    def staying(self) -> None:
        """Say that it goes on without the node, because containers are left."""
        self._send({"type": "staying"})

    def refuse(self, message: str) -> None:
        """Say why there will be no warden."""
        self._send({"type": "refused", "message": message})

    def close(self) -> None:
        """Go on without the node; harmless when repeated."""
        if self._sock is not None:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def record(self, line: Line) -> None:
        """Have the node keep a record."""
        self._send({"type": "record", **line._asdict()})

    def _attach(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop.watch(sock.fileno(), lambda _: self._read())

    def _send(self, packet: dict[str, Any]) -> None:
        if self._sock is not None:
            try:
                self._sock.send(json.dumps(packet, separators=(",", ":")).encode(), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                pass  # a node that does not read takes this warden for hung, and rightly asks again
            except OSError:
                self._lost()

    def _read(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(_MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self._handle(data)

    def _lost(self) -> None:
        self.close()
        self._handler.stop()

    def _handle(self, data: bytes) -> None:
        try:
            packet = json.loads(data)
        except ValueError:
            return
        if not isinstance(packet, dict):
            return
        match packet:
            case {"type": "ping", "n": number}:
                self._send({"type": "pong", "n": number, "inbox": self._inbox()})
                self._log.outlet.flush()
            case {"type": "logging", "settings": settings}:
                self._log.adopt(settings)
            case {"type": "reaped", "pid": int(pid), "status": int(status)}:
                self._handler.reaped(pid, status)
            case {"type": "stop"}:
                self._handler.stop()
            case _:
                pass
