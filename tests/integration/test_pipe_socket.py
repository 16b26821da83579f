"""A connection of the command socket that becomes a pipe, with a real plumber behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.pipe import DeletePipes, GetPipes, WritePipe
from bus.port import Port
from cli.commands.registry import COMMANDS
from cli.server import pipe_mode
from cli.server.connection import Connection
from cli.server.engine import Engine
from tests.integration.plumber_host import plumber_host, until_pipe
from tests.integration.processes import until
from tests.system.patience import FACTOR

WAIT_S = 10.0 * FACTOR


class Client(NamedTuple):
    """A client of the command socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def strings(self, count: int) -> list[str]:
        """The next messages."""
        async with asyncio.timeout(WAIT_S):
            return [json.loads(await self.reader.readuntil(b"\n")) for _ in range(count)]

    async def is_closed(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read(1) == b""

    def write(self, *strings: str) -> None:
        """Send messages."""
        self.writer.write(b"".join(json.dumps(text).encode() for text in strings))


class Socket:
    """A command socket, the plumber behind it, and a connection to that."""

    def __init__(self, base: Path, port: Port) -> None:
        self.path = base / "minimega"
        self.port = port
        self.wrong: list[Exception] = []
        self.engine = Engine(port, "n1", COMMANDS, lambda work, name: work.close(), self.wrong.append, base / "files")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        try:
            await Connection(self.engine, reader, writer).serve()
        except Exception as error:
            self.wrong.append(error)

    @asynccontextmanager
    async def attached(self, name: str, *before: str) -> AsyncIterator[Client]:
        """A client that has become a pipe, after it has run some commands."""
        reader, writer = await asyncio.open_unix_connection(self.path, limit=64 * 1024 * 1024)
        try:
            for line in before:
                writer.write(json.dumps({"Command": line}).encode())
                await reader.readuntil(b"\n")
            writer.write(json.dumps({"Command": "", "Suggest": "", "PlumbPipe": name}).encode())
            yield Client(reader, writer)
        finally:
            writer.close()

    async def write(self, name: str, data: bytes, *, framed: bool = False, namespace: str = "minimega") -> None:
        """Write from outside; returns when attached readers have it."""
        request = WritePipe(pipe=name, data=data, framed=framed)
        await self.port.ask("plumber", request, timeout_s=WAIT_S, namespace=namespace)


@pytest.fixture
async def command_socket(base_dir: Path) -> AsyncIterator[Socket]:
    """No client and no bug may be left."""
    async with plumber_host(base_dir) as (_, port):
        socket = Socket(base_dir, port)
        listener = await asyncio.start_unix_server(socket.serve, socket.path)
        yield socket
        await until(lambda: _nobody(port))
        listener.close()
        await listener.wait_closed()
        assert socket.wrong == []


async def _nobody(port: Port) -> bool:
    pipes = (await port.ask("plumber", GetPipes(), timeout_s=WAIT_S)).pipes
    return all((pipe.readers, pipe.writers) == (0, 0) for pipe in pipes)


async def test_both_directions(command_socket: Socket) -> None:
    async with command_socket.attached("foo") as one, command_socket.attached("minimega//foo") as other:
        await until_pipe(command_socket.port, "foo", readers=2)
        one.write("hello\n", "", "no newline", 'tw\u00f6 "quoted"\n', "two\nlines\n")
        expected = ["hello\n", "no newline\n", 'tw\u00f6 "quoted"\n', "two\n", "lines\n"]
        assert await other.strings(5) == expected
        assert await one.strings(5) == expected, "its own come back"
        other.write("x\n")
        assert await one.strings(1) == ["x\n"]


async def test_bytes_that_are_no_text_and_frames(command_socket: Socket) -> None:
    async with command_socket.attached("foo") as client:
        await until_pipe(command_socket.port, "foo", readers=1)
        await command_socket.write("foo", b"a\xffb\n\x00\n")
        await command_socket.write("foo", b"\0\0\0\3a\nb", framed=True)
        assert await client.strings(3) == ["a\ufffdb\n", "\x00\n", "a\nb"]


async def test_messages_of_many_sizes(command_socket: Socket) -> None:
    texts = ["x" * size + "\n" for size in (0, 1, 65_535, 65_536, 1_000_000, 16 * 1024 * 1024)]
    async with command_socket.attached("foo") as client:
        await until_pipe(command_socket.port, "foo", readers=1)
        for text in texts:
            client.write(text)
            assert await client.strings(1) == [text]


async def test_the_namespace_of_the_connection_counts(command_socket: Socket) -> None:
    async with command_socket.attached("foo") as client:
        await until_pipe(command_socket.port, "foo", readers=1)
        await command_socket.write("foo", b"not here\n", namespace="exp")
        await command_socket.write("foo", b"here\n")
        assert await client.strings(1) == ["here\n"]


async def test_what_a_client_wrote_before_it_left_is_in_the_pipe(command_socket: Socket) -> None:
    lines = 20_000
    async with PipeReader(command_socket.port, "foo") as reader:
        async with command_socket.attached("foo") as client:
            client.write(*(f"{number}\n" for number in range(lines)))
            await client.writer.drain()
        got = b""
        async with asyncio.timeout(WAIT_S):
            while got.count(b"\n") < lines:
                delivery = await reader.next()
                assert delivery is not None
                got += delivery.data
    assert got == b"".join(b"%d\n" % number for number in range(lines))


async def test_the_end_of_the_pipe_closes_the_connection(command_socket: Socket) -> None:
    async with command_socket.attached("foo") as client:
        await until_pipe(command_socket.port, "foo", readers=1)
        await command_socket.write("foo", b"last\n")
        await command_socket.port.ask("plumber", DeletePipes(pipe="foo"), timeout_s=WAIT_S)
        assert await client.strings(1) == ["last\n"]
        assert await client.is_closed()


@pytest.mark.parametrize("data", [b"5", b'{"Command":"version"}', b'"a\nb"'])
async def test_anything_but_strings_closes_the_connection(command_socket: Socket, data: bytes) -> None:
    async with command_socket.attached("foo") as client:
        client.writer.write(data)
        assert await client.is_closed()


@pytest.mark.parametrize(
    ("name", "words"),
    [("a/b", "cannot contain `/`"), ("exp//", "cannot be empty"), ("x" * 10_000, "at most"), ("a\0b", "control")],
)
async def test_names_that_cannot_be(command_socket: Socket, name: str, words: str) -> None:
    async with command_socket.attached(name) as client:
        reply = json.loads(await client.reader.readuntil(b"\n"))
        assert words in reply["Resp"][0]["Error"]
        assert await client.is_closed()


async def test_a_client_that_takes_nothing_is_parted_with(
    command_socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_mode, "STALLED_S", 0.3)
    batch = b"x" * 65_535 + b"\n"
    async with command_socket.attached("foo") as client, PipeWriter(command_socket.port, "foo") as writer:
        await until_pipe(command_socket.port, "foo", readers=1)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(WAIT_S):
            for _ in range(400):
                await writer.write(batch)
            await writer.drain()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(WAIT_S):
            got = len(await client.reader.read(-1))
        assert got < 300 * len(batch), "the rest never came"


async def test_a_client_that_is_slow_keeps_its_place(command_socket: Socket) -> None:
    """A pause shorter than the limit costs nothing."""
    messages = 3_000
    async with command_socket.attached("foo") as client, PipeWriter(command_socket.port, "foo") as writer:
        await until_pipe(command_socket.port, "foo", readers=1)
        for _ in range(messages):
            await writer.write(b"y" * 1_000 + b"\n")
        assert await client.strings(messages) == ["y" * 1_000 + "\n"] * messages


async def test_a_command_before_decides_where(command_socket: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Callable[..., Awaitable[object]] = command_socket.port.ask

    async def ask(to: str, request: object, **more: object) -> object:
        return request if to == "namespace" else await opened(to, request, **more)

    monkeypatch.setattr(command_socket.port, "ask", ask)
    async with command_socket.attached("foo", "namespace exp") as client:

        async def there() -> bool:
            found = await command_socket.port.ask("plumber", GetPipes(), timeout_s=WAIT_S, namespace="exp")
            return [pipe.readers for pipe in found.pipes] == [1]

        await until(there)
        await command_socket.write("foo", b"exp's\n", namespace="exp")
        assert await client.strings(1) == ["exp's\n"]
