"""A small HTTP server for answers that are made at once (RFC 9112): GET and HEAD, one request a connection.

For a few clients who ask now and then. Whoever is slow, says too much or comes in great numbers costs nobody else
anything: there is a time for each step, a limit for the head, and a number of connections, of which the oldest makes
room, first of those that have not asked yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

MAX_HEAD = 8192
"""Bytes of request line and header fields."""
MAX_CONNECTIONS = 32
READ_S = 5.0
WRITE_S = 10.0
END_OF_HEAD = b"\r\n\r\n"


class Request(NamedTuple):
    """What was asked."""

    path: str
    """Without the query."""
    accept: str


class Response(NamedTuple):
    """What is answered."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class HttpServer:
    """See the module. `respond` makes the answer to a request."""

    def __init__(self, listening: socket.socket, respond: Callable[[Request], Awaitable[Response]]) -> None:
        self._listening = listening
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[asyncio.StreamWriter, None] = {}
        """Connections, oldest first."""
        self._silent: dict[asyncio.StreamWriter, None] = {}
        """Those that have not asked yet."""

    async def open(self) -> None:
        """Begin to serve."""
        self._server = await asyncio.start_server(self._accepted, sock=self._listening, limit=MAX_HEAD)

    async def close(self) -> None:
        """End all connections, and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._silent), None) or next(iter(self._open))
            oldest.transport.abort()
            self._forget(oldest)
        self._open[writer] = self._silent[writer] = None
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="http")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._answer(reader, writer)
        finally:
            self._forget(writer)
            if writer.transport.get_write_buffer_size():  # it was not taken in time
                writer.transport.abort()
            else:
                writer.close()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._open.pop(writer, None)
        self._silent.pop(writer, None)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_body = True
        try:
            method, request = parse_head(await self._head(reader))
            with_body = method != "HEAD"
            response = await self._respond(request)
        except asyncio.IncompleteReadError:
            return
        except _Refused as refused:
            response = Response(f"{refused.status.phrase}\n".encode(), status=refused.status)
        self._silent.pop(writer, None)
        writer.write(head_of(response) + (response.body if with_body else b""))
        async with asyncio.timeout(WRITE_S):
            writer.transport.set_write_buffer_limits(high=0)
            await writer.drain()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(READ_S):
                return await reader.readuntil(END_OF_HEAD)
        except TimeoutError:
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT) from None
        except asyncio.LimitOverrunError:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None


def parse_head(head: bytes) -> tuple[str, Request]:
    """Method and request; raises `_Refused` for what this server does not do."""
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise _Refused(HTTPStatus.BAD_REQUEST) from None
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise _Refused(HTTPStatus.BAD_REQUEST)
    if method not in ("GET", "HEAD"):
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED)
    if not target.startswith("/"):
        raise _Refused(HTTPStatus.BAD_REQUEST)
    fields = [line.partition(":") for line in lines[1:] if line]
    accept = ",".join(value.strip() for name, _, value in fields if name.lower() == "accept")
    return method, Request(path=target.partition("?")[0], accept=accept)


def head_of(response: Response) -> bytes:
    """Status line and header fields."""
    fields = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Connection": "close",
        **({"Allow": "GET, HEAD"} if response.status is HTTPStatus.METHOD_NOT_ALLOWED else {}),
    }
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}", *(f"{k}: {v}" for k, v in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
