"""The sockets of a console: where viewers connect, and the viewers. Raw bytes both ways, as minimega has it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from actors.container.console_poller import Poller
from shims.files.scroll_back import ScrollBack

BACKLOG = 16
CHUNK = 16 * 1024
"""Bytes that wait for a viewer's socket, beside the scroll-back that all share."""
LINGER_S = 10.0
"""How long a viewer that types no more is still shown output, since it cannot be told from one that has gone."""
LAST_INPUT = 16
"""How many chunks of what a viewer still types are read away at the end."""
PAUSE_S = 1.0
"""After the kernel could not give a connection."""


class Terminal(Protocol):
    """What a viewer needs of its console."""

    scroll_back: ScrollBack

    def room(self) -> int:
        """How many bytes of input it takes now."""
        ...

    def type(self, data: bytes) -> int:
        """Type; how many bytes have been taken."""
        ...


def listen_unix(path: Path) -> socket.socket:
    """A unix socket at the path, for root alone; what an earlier process has left there is replaced. Raises OSError."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(os.fspath(path))
        path.chmod(0o600)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_tcp(address: str, port: int) -> socket.socket:
    """A TCP socket at the address; at another port than the wanted one if that is taken. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Connections of an earlier process must not keep the port from its successor (socket(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port:
            with contextlib.suppress(OSError):
                sock.bind((address, port))
        if not sock.getsockname()[1]:
            sock.bind((address, 0))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Door:
    """A listening socket that hands over each connection."""

    def __init__(self, poller: Poller, sock: socket.socket, on_connected: Callable[[socket.socket], None]) -> None:
        self._poller = poller
        self._sock = sock
        self._on_connected = on_connected
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    @property
    def port(self) -> int:
        """Of a TCP socket."""
        return int(self._sock.getsockname()[1])

    def close(self) -> None:
        """Take nobody any more."""
        if self._pause is not None:
            self._pause.cancel()
        self._poller.unwatch(self._sock.fileno())
        self._sock.close()

    def _open(self) -> None:
        self._pause = None
        self._poller.watch(self._sock.fileno(), select.EPOLLIN, lambda events: self._accept())

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors or memory: whoever knocks waits
            self._poller.unwatch(self._sock.fileno())
            self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._open)
            return
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._on_connected(connection)


class Viewer:
    """A connection to a console. It has a place in the scroll-back instead of a queue.

    Whoever falls so far behind that his place is gone is told how much he misses, and goes on with what there is.
    """

    def __init__(
        self, sock: socket.socket, terminal: Terminal, poller: Poller, on_gone: Callable[[Viewer], None]
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._terminal = terminal
        self._poller = poller
        self._on_gone = on_gone
        self._at = terminal.scroll_back.first_line()
        self._owed = b""
        self._has_ended_input = False
        self._linger: asyncio.TimerHandle | None = None
        self._events = -1
        self.update()

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended."""
        return self._fd < 0

    def update(self) -> None:
        """There is more to see, or room to type again."""
        if self._events < 0 or not self._events & select.EPOLLOUT:
            self._send()
        self._look_out()

    def close(self) -> None:
        """Show what the socket still takes, and end the connection."""
        if self._fd < 0:
            return
        self._send()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            for _ in range(LAST_INPUT):  # with input left unread the kernel throws away what was sent as well (TCP)
                if not self._sock.recv(CHUNK):
                    break
        self._gone()

    def _gone(self) -> None:
        if self._fd < 0:
            return
        if self._linger is not None:
            self._linger.cancel()
        self._poller.unwatch(self._fd)
        self._sock.close()
        self._fd = -1
        self._on_gone(self)

    def _look_out(self) -> None:
        if self._fd < 0:
            return
        types = not self._has_ended_input and self._terminal.room() > 0
        events = (select.EPOLLIN if types else 0) | (select.EPOLLOUT if self._owed else 0)
        if events != self._events:
            self._events = events
            self._poller.watch(self._fd, events, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._send()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._receive(is_over=bool(events & (select.EPOLLHUP | select.EPOLLERR)))
        self._look_out()

    def _send(self) -> None:
        while self._fd >= 0:
            if not self._owed and not self._fetch():
                return
            try:
                sent = self._sock.send(self._owed, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._gone()
                return
            self._owed = self._owed[sent:]

    def _fetch(self) -> bool:
        """Take the next piece out of the scroll-back; False if the viewer has seen all."""
        offset, self._owed = self._terminal.scroll_back.read(self._at, CHUNK)
        if offset > self._at:
            self._owed = b"\r\n[minibus: %d bytes skipped]\r\n" % (offset - self._at)
            self._at = offset
        else:
            self._at += len(self._owed)
        return bool(self._owed)

    def _receive(self, *, is_over: bool) -> None:
        while self._fd >= 0 and (room := self._terminal.room()):
            try:
                data = self._sock.recv(min(room, CHUNK))
            except BlockingIOError:
                break
            except OSError:
                self._gone()
                return
            if not data:
                self._end_input()
                break
            self._terminal.type(data)
            if not is_over:
                return
        if is_over:
            self._gone()

    def _end_input(self) -> None:
        self._has_ended_input = True
        if self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.close)
