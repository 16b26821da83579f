"""Who may be a client of the command socket, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.server.connection import CLOSE_S
from cli.server.listener import MAX_CLIENTS, RESERVED, Listener, room_for_clients
from tests.unit.cli.stand_ins import serving


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A client that is served."""
    try:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def listening(base_dir: Path, room: int) -> AsyncIterator[Path]:
    """A listener with room for so many."""
    path = base_dir / "socket"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listening.bind(str(path))
    listening.listen(100)
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = Listener(listening, "n1", echo, spawn, room)
    accepting = asyncio.get_running_loop().create_task(listener.accept_forever())
    try:
        yield path
    finally:
        await asyncio.sleep(0)
        listener.close()
        await asyncio.gather(accepting, return_exceptions=True)
        assert accepting.cancelled()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def client(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """One client."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def is_served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the client gets back what it sends."""
    writer.write(b"x")
    return await reader.read(1) == b"x"


async def test_one_too_many_is_told_so_and_comes_in_when_another_leaves(base_dir: Path) -> None:
    async with listening(base_dir, 2) as path, client(path) as first:
        async with client(path) as second:
            assert await is_served(*first) and await is_served(*second)
            for _ in range(3):
                async with client(path) as third:
                    reply = json.loads(await third[0].read())
                    assert reply["More"] is False
                    (response,) = reply["Resp"]
                    assert response["Error"] == "there are 2 clients already, which is as many as can be"
            assert await is_served(*first)
        async with asyncio.timeout(10):
            while True:
                async with client(path) as fourth:
                    if await is_served(*fourth):
                        break


async def test_nobody_is_taken_once_it_is_closed(base_dir: Path) -> None:
    async with listening(base_dir, 2) as path, client(path) as first:
        assert await is_served(*first)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(path)


async def test_a_client_that_never_reads_does_not_keep_the_server_from_stopping(base_dir: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(base_dir))
        async with client(server.path) as (_, writer):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    while True:
                        writer.write(json.dumps({"Command": "echo " + "x" * 100_000}).encode())
                        await writer.drain()
            begun_s = time.monotonic()
            await stack.aclose()
            assert time.monotonic() - begun_s < CLOSE_S / 2
            writer.transport.abort()


@pytest.mark.parametrize(("limit", "room"), [(200, 200 - RESERVED), (10, 1), (15_000, MAX_CLIENTS)])
def test_the_room_follows_the_limit_of_descriptors(monkeypatch: pytest.MonkeyPatch, limit: int, room: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limit, 1 << 20))
    assert room_for_clients() == room
