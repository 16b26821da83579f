"""The line to the server: one of several places where it may be, tried again until one of them answers."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable

from shims.agent import platform_linux
from shims.agent.line import names
from shims.agent.log import Log
from shims.agent.loop import Loop

BULK_BYTES = 256 * 1024
"""With so much waiting to go out, streams pause."""
RETRY_FIRST_S = 0.05
RETRY_MAX_S = 2.0
SILENT_RETRY_S = 0.5
"""Between looks whether somebody has opened the other end of a serial port."""
_READ_BYTES = 128 * 1024
_BACKPRESSURE = (errno.EAGAIN, errno.EINTR)


class Endpoint:
    """Where the server may be: a unix socket or a device at a path, or a TCP port."""

    def __init__(self, path: str = "", *, host: str = "", port: int = 0) -> None:
        self.path, self.host, self.port = path, host, port

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class Line:
    """Opens itself, and again whenever it has broken, until `stop`.

    `on_open()`, `on_bytes(data)`, `on_closed()` and `on_room()` (streams may go on) are called.
    """

    def __init__(
        self,
        loop: Loop,
        log: Log,
        endpoints: list[Endpoint],
        *,
        on_open: Callable[[], None],
        on_bytes: Callable[[bytes], None],
        on_closed: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        self._loop, self._log, self._endpoints = loop, log, endpoints
        self._on_open, self._on_bytes, self._on_closed, self._on_room = on_open, on_bytes, on_closed, on_room
        self._fd = -1
        self._open = False
        self._resolving = False
        self._stopped = False
        self._outgoing = bytearray()
        self._retry_s = RETRY_FIRST_S
        self._said = ""
        self.is_device = False
        """Nobody can close a device's line: a session on it ends when one of the two begins another."""

    @property
    def has_room(self) -> bool:
        """Streams may send."""
        return len(self._outgoing) < BULK_BYTES

    @property
    def pending(self) -> int:
        """Bytes that the other end has not taken."""
        return len(self._outgoing)

    def start(self) -> None:
        """Try all endpoints now, and from now on."""
        if self._stopped or self._fd >= 0 or self._resolving:
            return
        reasons = []
        for endpoint in self._endpoints:
            try:
                self._try(endpoint)
            except OSError as error:
                reasons.append(f"{endpoint}: {error.strerror or error}")
                continue
            return
        self._failed("; ".join(reasons))

    def _failed(self, reasons: str) -> None:
        if reasons != self._said:
            self._said = reasons
            self._log.warn(f"no line to the server yet: {reasons}")
        self._loop.call_later(self._retry_s, self.start)
        self._retry_s = min(RETRY_MAX_S, self._retry_s * 2)

    def _try(self, endpoint: Endpoint) -> None:
        if not endpoint.path:
            self._resolve(endpoint)
        elif stat.S_ISSOCK(os.stat(endpoint.path).st_mode):
            self._connect(socket.AF_UNIX, endpoint.path)
        else:
            fd = os.open(endpoint.path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            platform_linux.make_raw(fd)
            self.is_device = True
            self._opened(fd)

    def _resolve(self, endpoint: Endpoint) -> None:
        self._resolving = True

        def resolved(address: str, error: str) -> None:
            self._resolving = False
            try:
                if error:
                    raise OSError(0, error)
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                self._connect(family, (address, endpoint.port))
            except OSError as failure:
                self._failed(f"{endpoint}: {failure.strerror}")

        names.resolve(self._loop, endpoint.host, resolved)

    def _connect(self, family: socket.AddressFamily, address: str | tuple[str, int]) -> None:
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            connection.connect(address)
        except BlockingIOError as error:
            if family == socket.AF_UNIX:  # its backlog is full; such a socket never becomes writable
                connection.close()
                raise OSError(error.errno, "the server has too many waiting") from None
            self._fd = connection.detach()
            self._loop.on_writable(self._fd, lambda: self._connected(str(address)))
            return
        except OSError:
            connection.close()
            raise
        self.is_device = False
        self._opened(connection.detach())

    def _connected(self, address: str) -> None:
        fd, self._fd = self._fd, -1
        self._loop.forget(fd)
        with socket.socket(fileno=os.dup(fd)) as view:
            code = view.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            os.close(fd)
            self._failed(f"{address}: {os.strerror(code)}")
            return
        self.is_device = False
        self._opened(fd)

    def _opened(self, fd: int) -> None:
        self._fd, self._open = fd, True
        self._outgoing.clear()
        self._said = ""
        self._loop.on_readable(fd, self._readable)
        self._on_open()

    def works(self) -> None:
        """The server has answered: should the line break, the next try is at once."""
        self._retry_s = RETRY_FIRST_S

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError as error:
            if error.errno not in _BACKPRESSURE:
                self.close(f"{error.strerror}")
            return
        if data:
            self._on_bytes(data)
        elif self.is_device:
            # A virtio port gives no bytes while nobody has the other end open, and poll(2) says so all the time.
            fd = self._fd
            self._loop.on_readable(fd, None)
            self._loop.call_later(SILENT_RETRY_S, lambda: self._listen_again(fd))
        else:
            self.close("the server has closed it")

    def _listen_again(self, fd: int) -> None:
        if self._fd == fd:
            self._loop.on_readable(fd, self._readable)

    def send(self, data: bytes) -> None:
        """Put bytes on the way; what is sent while the line is not open is lost."""
        if not self._open:
            return
        was_empty = not self._outgoing
        self._outgoing += data
        if was_empty:
            self._flush()

    def drop_outgoing(self) -> None:
        """A new session begins on a device: what was under way is void."""
        self._outgoing.clear()

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._outgoing)
        except OSError as error:
            if error.errno not in _BACKPRESSURE:
                self.close(f"{error.strerror}")
                return
            sent = 0
        had_room = self.has_room
        del self._outgoing[:sent]
        if self._outgoing:
            self._loop.on_writable(self._fd, self._flush)
        else:
            self._loop.on_writable(self._fd, None)
        if self.has_room and not had_room:
            self._on_room()

    def close(self, why: str, retry_s: float | None = None) -> None:
        """Give the connection up, and try again after `retry_s`, or soon."""
        if self._fd < 0:
            return
        self._loop.forget(self._fd)
        os.close(self._fd)
        self._fd = -1
        was_open, self._open = self._open, False
        self._outgoing.clear()
        if not was_open:
            return
        self._log.info(f"the line to the server is closed: {why}")
        self._on_closed()
        delay_s = self._retry_s if retry_s is None else retry_s
        self._retry_s = min(RETRY_MAX_S, self._retry_s * 2)
        self._loop.call_later(delay_s, self.start)

    def stop(self) -> None:
        """Close it for good."""
        self._stopped = True
        self.close("the agent ends")
