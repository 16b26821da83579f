"""A web server that says exactly what a test wants, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Route = bytes | Callable[[socket.socket], None]
"""What is sent before the connection is closed, or what does it."""


def body(content: bytes, *, length: int | None = None, status: str = "200 OK", headers: str = "") -> bytes:
    """An answer with a Content-Length, which may be a wrong one."""
    size = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + content


def redirect(location: str, status: str = "302 Found") -> bytes:
    """An answer that sends elsewhere."""
    return body(b"over there", status=status, headers=f"Location: {location}\r\n")


def stalls(begin: bytes) -> Callable[[socket.socket], None]:
    """Says the beginning, then nothing until the other side gives up."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(begin)
        with contextlib.suppress(OSError):
            connection.recv(1)

    return talk


def drips(begin: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Says the beginning, then the same again and again, until the other side gives up."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(begin)
        connection.settimeout(0.02)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(drop)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        return

    return talk


class Web:
    """The server; `routes` is by path, with the query."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.routes: dict[str, Route] = {}
        self.greeting = b""
        """Said before anything was asked, as no web server does."""
        self.asked: list[str] = []
        """Heads of the requests, in the order of their arrival."""
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._start(self._accept)

    def times(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(head.split(" ")[1] == path for head in self.asked)

    def close(self) -> None:
        """End all conversations; harmless when repeated."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="web", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._open.add(connection)
                self._start(lambda taken=connection: self._serve(taken))  # type: ignore[misc]  # bound now, not later

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)
            connection.sendall(self.greeting)
            head = b""
            while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                head += data
            if head:
                self._answer(connection, head.decode("latin-1"))
        self._open.discard(plain)
        connection.close()
        plain.close()

    def _answer(self, connection: socket.socket, head: str) -> None:
        self.asked.append(head)
        route = self.routes.get(head.split(" ")[1], body(b"nothing here", status="404 No Such Thing"))
        if isinstance(route, bytes):
            connection.sendall(route)
        else:
            route(connection)


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server for as long as a test takes."""
    web = Web(tls)
    try:
        yield web
    finally:
        web.close()
