"""Connections that are carried between the server and programs in this guest."""

from __future__ import annotations

import os
import socket
from errno import EINPROGRESS, EMFILE, ENFILE
from typing import TYPE_CHECKING, Any

from shims.agent.line import names
from shims.agent.line.wire import CHUNK
from shims.agent.loop import Timer

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

DIAL_S = 30.0
_BACKLOG = 64


class Connection:
    """One connection of this guest; what it says is carried to the server, and the other way round."""

    def __init__(self, tunnels: Tunnels, number: int) -> None:
        self._tunnels, self.number = tunnels, number
        self._loop = tunnels.agent.loop
        self._socket: socket.socket | None = None
        self._outgoing = bytearray()
        self._under_way = 0
        """Bytes for the server that it has not given on."""
        self._they_shut = self._we_shut = self._is_over = False
        self._open = False
        """Both ends are there; before that nothing is read or written."""

    def dial(self, host: str, port: int) -> None:
        """Connect to something here, as the server asks."""
        names.resolve(self._loop, host, lambda address, error: self._resolved(address, port, error))

    def _resolved(self, address: str, port: int, error: str) -> None:
        if self._is_over:  # meanwhile the server has hung up, or the line is gone
            return
        if error:
            self._dialed(error)
            return
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            dialing = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            code = dialing.connect_ex((address, port))
        except (OSError, OverflowError) as failure:
            self._dialed(getattr(failure, "strerror", None) or str(failure))
            return
        self._socket = dialing
        if code == EINPROGRESS:
            timer = self._loop.call_later(DIAL_S, lambda: self._dialed("no answer"))
            self._loop.on_writable(dialing.fileno(), lambda: self._connected(dialing, timer))
        else:
            self._dialed(os.strerror(code) if code else "")

    def _connected(self, dialing: socket.socket, timer: Timer) -> None:
        timer.cancel()
        self._loop.on_writable(dialing.fileno(), None)
        code = dialing.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._dialed(os.strerror(code) if code else "")

    def _dialed(self, error: str) -> None:
        if self._is_over:
            return
        self._say("dialed", error=error)
        if error:
            self.close()
        else:
            self._begin()

    def _begin(self) -> None:
        self._open = True
        self.go_on()
        self._write()

    def adopt(self, accepted: socket.socket) -> None:
        """One that a program here has made; it is read once the server has its other end."""
        self._socket = accepted

    def go_on(self) -> None:
        """Read while the server takes it."""
        if self._socket is None or not self._open:
            return
        room = self._under_way < self._tunnels.agent.session.window and self._tunnels.agent.session.line.has_room
        self._loop.on_readable(self._socket.fileno(), self._read if room and not self._we_shut else None)

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.hang_up(error.strerror or str(error))
            return
        if data:
            self._under_way += len(data)
            self._say("carry", data=data)
            self.go_on()
        else:
            self._we_shut = True
            self.go_on()
            self._say("shut")
            self._close_if_over()

    def take(self, message: Message) -> None:
        """What the server says of it."""
        kind = message["type"]
        if kind == "carry" and not self._they_shut:
            self._outgoing += message["data"]
            if len(self._outgoing) > self._tunnels.agent.session.window + CHUNK:
                self.hang_up("more came than was acknowledged")
            else:
                self._write()
        elif kind == "carried":
            self._under_way = max(0, self._under_way - int(message["bytes"]))
            self.go_on()
        elif kind == "shut":
            self._they_shut = True
            self._write()
        elif kind == "dialed":
            if message.get("error"):
                self.close()
            else:
                self._begin()
        elif kind == "hang_up":
            self.close()

    def _write(self) -> None:
        if self._socket is None or not self._open:
            return
        sent = 0
        if self._outgoing:
            try:
                sent = self._socket.send(self._outgoing)
            except BlockingIOError:
                pass
            except OSError as error:
                self.hang_up(error.strerror or str(error))
                return
        del self._outgoing[:sent]
        if sent:
            self._say("carried", bytes=sent)
        self._loop.on_writable(self._socket.fileno(), self._write if self._outgoing else None)
        if self._they_shut and not self._outgoing:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self.hang_up(error.strerror or str(error))
                return
            self._close_if_over()

    def _close_if_over(self) -> None:
        if self._we_shut and self._they_shut and not self._outgoing:
            self.close()

    def hang_up(self, error: str) -> None:
        """It is broken here."""
        self._say("hang_up", error=error)
        self.close()

    def _say(self, kind: str, **fields: Any) -> None:
        self._tunnels.agent.session.send({"type": kind, "connection": self.number, **fields})

    def close(self) -> None:
        """Nothing more of it."""
        self._is_over = True
        self._tunnels.connections.pop(self.number, None)
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


class Tunnels:
    """All of one session; they end with it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.connections: dict[int, Connection] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._last = -1

    def take(self, message: Message) -> None:
        """A message of the server about tunnels."""
        kind = message["type"]
        if kind == "dial":
            number = int(message["connection"])
            if number % 2 or number in self.connections:
                raise ValueError(f"{number} is no number for a new connection of the server")
            connection = self.connections[number] = Connection(self, number)
            connection.dial(str(message["host"]), int(message["port"]))
        elif kind == "listen":
            self._listen(int(message["tunnel"]), int(message["port"]))
        elif kind == "unlisten":
            self._unlisten(int(message["tunnel"]))
        elif (known := self.connections.get(message["connection"])) is not None:
            known.take(message)

    def _listen(self, tunnel: int, port: int) -> None:
        self._unlisten(tunnel)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        error = ""
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
        except (OSError, OverflowError) as failure:
            listener.close()
            error = getattr(failure, "strerror", None) or str(failure)
        else:
            self._listeners[tunnel] = listener
            self._watch(tunnel, listener)
        self.agent.session.send({"type": "listening", "tunnel": tunnel, "error": error})

    def _watch(self, tunnel: int, listener: socket.socket) -> None:
        if self._listeners.get(tunnel) is listener:
            self.agent.loop.on_readable(listener.fileno(), lambda: self._accept(tunnel, listener))

    def _accept(self, tunnel: int, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):  # it stays in the queue, and poll(2) would say so all the time
                fd = listener.fileno()
                self.agent.loop.on_readable(fd, None)
                self.agent.loop.call_later(1.0, lambda: self._watch(tunnel, listener))
            return
        accepted.setblocking(False)
        self._last += 2
        connection = self.connections[self._last] = Connection(self, self._last)
        connection.adopt(accepted)
        self.agent.session.send({"type": "dial", "connection": self._last, "tunnel": tunnel})

    def _unlisten(self, tunnel: int) -> None:
        listener = self._listeners.pop(tunnel, None)
        if listener is not None:
            self.agent.loop.forget(listener.fileno())
            listener.close()

    def go_on(self) -> None:
        """The line has room again."""
        for connection in list(self.connections.values()):
            connection.go_on()

    def close(self) -> None:
        """The session has ended."""
        for connection in list(self.connections.values()):
            connection.close()
        for tunnel in list(self._listeners):
            self._unlisten(tunnel)
