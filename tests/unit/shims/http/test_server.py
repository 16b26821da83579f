"""The small HTTP server, and those who mean it ill."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shims.http import server as http_server
from shims.http.server import MAX_CONNECTIONS, MAX_HEAD, HttpServer, Request, Response

LARGE = b"x" * 20_000_000


async def respond(request: Request) -> Response:
    """Says what was asked."""
    return Response(LARGE if request.path == "/large" else f"{request.path} {request.accept}".encode())


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of a server."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port: int = listening.getsockname()[1]
    server = HttpServer(listening, respond)
    await server.open()
    try:
        yield port
    finally:
        await server.close()


async def said(port: int, data: bytes) -> bytes:
    """All that the server answers before it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def get(port: int, path: str, method: str = "GET", **fields: str) -> tuple[int, bytes, str]:
    """As an ordinary client sees it."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request(method, path, headers=fields)
    answer = client.getresponse()
    found = (answer.status, answer.read(), answer.headers["Content-Length"])
    client.close()
    return found


async def test_an_ordinary_client() -> None:
    async with serving() as port:
        assert await asyncio.to_thread(get, port, "/a?b=c", Accept="text/x") == (200, b"/a text/x", "9")
        assert await asyncio.to_thread(get, port, "/a", "HEAD") == (200, b"", "3")
        assert (await asyncio.to_thread(get, port, "/large"))[1] == LARGE


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nACCEPT:  a \r\nAccept: b\r\n\r\n", b"200"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /  HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\xff\xfe\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_HEAD + b"\r\n", b"431"),
    ],
)
async def test_what_is_asked_otherwise(data: bytes, status: bytes) -> None:
    async with serving() as port:
        answer = await said(port, data)
        assert answer.split(b" ")[1] == status
        assert b"\r\nConnection: close\r\n" in answer


async def test_who_asks_nothing_is_told_so_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "READ_S", 0.05)
    async with serving() as port:
        assert (await said(port, b"GET / HT")).split(b" ")[1] == b"408"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write_eof()
        writer.close()
        assert (await said(port, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"/ ")


@pytest.mark.parametrize("begin", [b"GET / HT", b"GET /large HTTP/1.1\r\n\r\n"])
async def test_hundreds_of_clients_that_are_slow_keep_nobody_out(begin: bytes) -> None:
    async with serving() as port:
        slow = []
        for _ in range(5 * MAX_CONNECTIONS):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(begin)
            slow.append(sock)
            await asyncio.sleep(0)
        status, _, _ = await asyncio.to_thread(get, port, "/a")
        for sock in slow:
            sock.close()
    assert status == 200


async def test_who_does_not_take_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "WRITE_S", 0.05)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.5)
        received = 0
        with pytest.raises((ConnectionError, EOFError)):
            while data := await reader.read(65_536):
                received += len(data)
            raise EOFError
        writer.close()
    assert received < len(LARGE)
