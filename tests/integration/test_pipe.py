"""`minibus pipe` against a stand-in for the server: what it sends, what it prints, how each side ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cli.pipe import MAX_LINE, lines_of
from cli.testing import serving

ROOT = Path(__file__).parents[2]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FIRST = {"Command": "", "Suggest": "", "PlumbPipe": "foo"}


@asynccontextmanager
async def server(base: Path, serve: Serve) -> AsyncIterator[list[BaseException]]:
    """A command socket with one behaviour; gives what went wrong in it."""
    wrong: list[BaseException] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except Exception as error:
            wrong.append(error)
        finally:
            writer.close()

    listener = await asyncio.start_unix_server(accept, base / "minimega", limit=16 * MAX_LINE)
    try:
        yield wrong
    finally:
        listener.close()
        await listener.wait_closed()
    assert wrong == []


async def started(base: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", *arguments),
        cwd=ROOT,
        env={**os.environ, "MINIBUS_BASE": str(base)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def value(reader: asyncio.StreamReader) -> Any:
    """The next JSON value; None at the end."""
    line = await reader.readline()
    return json.loads(line) if line else None


async def test_both_directions(base_dir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await value(reader) == FIRST
        assert await value(reader) == "one\n"
        writer.write(b'"hello\\n"\n"wor')
        await writer.drain()
        assert await value(reader) == "tw\u00f6\n"
        assert await value(reader) == "last\n"
        assert await value(reader) is None, "the end of stdin is passed on"
        writer.write(b'ld\\n"\n')

    async with server(base_dir, serve):
        for arguments in (("pipe", "foo"), ("-pipe", "foo")):
            process = await started(base_dir, *arguments)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"one\n")
            assert await process.stdout.readline() == b"hello\n"
            process.stdin.write("tw\u00f6\nlast".encode())
            process.stdin.close()
            assert await process.communicate() == (b"world\n", b"")
            assert process.returncode == 0


async def test_the_server_ends_first(base_dir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await value(reader)
        writer.write(b'"bye\\n"\n')

    async with server(base_dir, serve):
        process = await started(base_dir, "pipe", "foo")
        assert process.stdout is not None
        assert await process.stdout.read() == b"bye\n"
        assert await process.wait() == 0, "though stdin is still open"
        await process.communicate()


async def test_much_data_in_both_directions_at_once(base_dir: Path) -> None:
    lines = 40_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await value(reader)
        for number in range(lines):
            assert await value(reader) == f"{number}{'x' * 90}\n"
            writer.write(json.dumps(f"{number}{'y' * 90}\n").encode() + b"\n")
            await writer.drain()

    async with server(base_dir, serve):
        process = await started(base_dir, "pipe", "foo")
        text = "".join(f"{number}{'x' * 90}\n" for number in range(lines)).encode()
        out, err = await process.communicate(text)
        assert err == b"" and process.returncode == 0
        assert out.decode() == "".join(f"{number}{'y' * 90}\n" for number in range(lines))


async def test_a_namespace(base_dir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await value(reader))["Command"] == "namespace exp"
        writer.write(b'{"Resp":[{"Host":"n1","Error":""}],"Rendered":"","More":false}\n')
        assert await value(reader) == FIRST

    async with server(base_dir, serve):
        process = await started(base_dir, "pipe", "--namespace", "exp", "foo")
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0


async def test_the_server_refuses(base_dir: Path) -> None:
    async with serving(base_dir) as real:
        process = await started(real.base, "pipe", "foo")
        out, err = await process.communicate()
        assert (process.returncode, out) == (1, b"")
        assert err.startswith(b"Error (n1): ") and err.count(b"\n") == 1


async def test_a_line_longer_than_the_limit_goes_in_pieces() -> None:
    readable, writable = os.pipe()

    async def write() -> None:
        with os.fdopen(writable, "wb") as file:
            await asyncio.to_thread(file.write, b"x" * (2 * MAX_LINE + 5) + b"\nend")

    try:
        task = asyncio.get_running_loop().create_task(write())
        pieces = await asyncio.to_thread(lambda: list(lines_of(readable)))
        await task
    finally:
        os.close(readable)
    assert b"".join(pieces) == b"x" * (2 * MAX_LINE + 5) + b"\nend\n"
    assert max(map(len, pieces)) <= 2 * MAX_LINE
    assert len(pieces) > 2
