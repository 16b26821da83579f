"""Downloads over HTTP: one blocking call, made in a thread, that another thread can watch and end.

The standard library's `urllib.request` does the talking: proxies of the environment, TLS and chunked bodies come with
it, and a few files at a time need no more. What it leaves open is done here: redirections (its own handler reads the
bodies of answers without bound, follows to ftp, and takes passwords along to other hosts), short bodies, and an end for
servers that send a little now and then. It is imported on first use: with the certificates it takes over 2 MiB.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from shims.http.url import HttpUrl, UrlError, follow

if TYPE_CHECKING:
    from http.client import HTTPResponse

STALL_S: Final = 60.0
"""A server that says nothing for so long has stalled."""
MAX_REDIRECTS: Final = 10
CHUNK_BYTES: Final = 256 * 1024
USER_AGENT: Final = "minibus"
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class DownloadError(Exception):
    """Why there is no file; `str()` goes on from a URL and a colon, e.g. `404 Not Found`."""


class Download:
    """One download. `received_bytes` and `total_bytes` may be read, and `abort` called, from any thread."""

    def __init__(self, url: HttpUrl, stall_s: float = STALL_S) -> None:
        self.url = url
        self.stall_s = stall_s
        self.received_bytes = 0
        self.total_bytes = -1
        """-1 as long as the server has not said."""
        self._lock = threading.Lock()
        self._reason = ""
        self._socket: socket.socket | None = None

    def abort(self, reason: str) -> None:
        """End it: `run` soon raises DownloadError with this reason; the first one counts."""
        with self._lock:
            self._reason = self._reason or reason
            if self._socket is not None:
                # Closing would not wake a thread that waits for the socket; this does (shutdown(2)).
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def run(self, fd: int) -> None:
        """Write what is at the URL to a file; raises DownloadError, also if the disk is full."""
        try:
            self._receive(fd)
        except Exception as error:
            self._check()
            raise DownloadError(_reason(error, self.stall_s)) from None
        finally:
            with self._lock:
                held, self._socket = self._socket, None
            if held is not None:
                held.close()
        self._check()

    def connect(self, address: tuple[str, int], timeout_s: Any, source: Any = None) -> socket.socket:
        """As `socket.create_connection`; keeps a second descriptor of the connection, by which `abort` ends it."""
        self._check()
        connection = socket.create_connection(address, self.stall_s)
        with self._lock:
            held, self._socket = self._socket, connection.dup()
        if held is not None:
            held.close()
        try:
            self._check()
        except DownloadError:
            connection.close()
            raise
        return connection

    def _check(self) -> None:
        with self._lock:
            if self._reason:
                raise DownloadError(self._reason)

    def _receive(self, fd: int) -> None:
        response = self._open()
        with response:
            if response.length is not None and not response.chunked:
                self.total_bytes = response.length
                _check_room(fd, response.length)
            while (wanted := self._wanted()) and (data := response.read1(wanted)):
                _write(fd, data)
                self.received_bytes += len(data)
        if self.received_bytes < self.total_bytes:
            missing = self.total_bytes - self.received_bytes
            raise DownloadError(f"the connection ended {missing} bytes before the end of the file")

    def _wanted(self) -> int:
        if self.total_bytes < 0:
            return CHUNK_BYTES
        return min(CHUNK_BYTES, self.total_bytes - self.received_bytes)

    def _open(self) -> HTTPResponse:
        """The answer that has the file, wherever redirections have led."""
        opener = _opener(self.connect)
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            self._check()
            response = opener(url, self.stall_s)
            if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response
            location = response.headers.get("Location")
            response.close()
            if response.status not in _REDIRECTS or location is None:
                raise DownloadError(_status(response.status))
            url = follow(url, location)
        raise DownloadError(f"it redirects more than {MAX_REDIRECTS} times")


def _opener(connect: Callable[..., socket.socket]) -> Callable[[HttpUrl, float], HTTPResponse]:
    """Asks for one URL: through the proxies of the environment, with certificates checked, and nothing else."""
    from functools import partial
    from http.client import HTTPConnection, HTTPSConnection
    from ssl import create_default_context
    from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

    def watched(kind: type[HTTPConnection], host: str, **options: Any) -> HTTPConnection:
        connection = kind(host, **options)
        connection._create_connection = connect  # type: ignore[attr-defined]  # its hook for another way to connect
        return connection

    class Http(HTTPHandler):
        def http_open(self, req: Request) -> HTTPResponse:
            return self.do_open(partial(watched, HTTPConnection), req)

    class Https(HTTPSHandler):
        def https_open(self, req: Request) -> HTTPResponse:
            return self.do_open(partial(watched, HTTPSConnection), req, context=create_default_context())

    director = OpenerDirector()
    for handler in (ProxyHandler(), UnknownHandler(), Http(), Https()):
        director.add_handler(handler)

    def ask(url: HttpUrl, timeout_s: float) -> HTTPResponse:
        request = Request(url.address, headers={"User-Agent": USER_AGENT, "Accept": "*/*"})  # noqa: S310 - HttpUrl
        if url.user or url.password:
            words = base64.b64encode(f"{url.user}:{url.password}".encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {words}")  # RFC 7617
        response: HTTPResponse = director.open(request, timeout=timeout_s)
        return response

    return ask


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _check_room(fd: int, size_bytes: int) -> None:
    """Refuse before the disk is full: it is shared with everything that has to be written down."""
    room = os.fstatvfs(fd)
    if size_bytes > room.f_bavail * room.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _status(code: int) -> str:
    """A status in words that are not the server's."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"status {code}"


def _reason(error: Exception, stall_s: float) -> str:
    """One sentence for whatever went wrong; nothing in it comes from the other side."""
    import ssl
    from http.client import HTTPException
    from urllib.error import URLError

    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason, stall_s)
    match error:
        case DownloadError() | UrlError():
            return str(error)
        case TimeoutError():
            return f"no progress for {stall_s:g} seconds"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return "no secure connection comes about: the other side does not speak TLS as it should"
        case socket.gaierror():
            return "there is no such host"
        case OSError() if error.errno == errno.ENOSPC:
            return "no space is left for it on the disk"
        case OSError() if error.errno and error.strerror:
            return error.strerror[:1].lower() + error.strerror[1:]
        case OSError() if str(error).startswith("Tunnel connection failed"):
            return "the proxy refuses to connect to it"
        case HTTPException() | OSError() | ValueError():
            return "the answer is not HTTP as it should be, or ended too early"
        case _:
            raise error
