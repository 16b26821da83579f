"""Readers and subscribers that stop, that are many, that are counted: everybody else goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus import codec
from bus.client import connect
from bus.errors import BusError
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.control import GetStatus
from bus.messages.pipe import (
    DeletePipes,
    GetPipes,
    LeavePipe,
    Overflow,
    PipeEnded,
    PipeMode,
    ReadPipe,
    SetPipe,
    WritePipe,
)
from bus.port import Port
from tests.integration.plumber_host import ROOT, PlumberHost, ask, pipe_info, plumber_host, until_pipe

LINE = b"x" * 94 + b"\n"
CHUNK = LINE * 600


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[tuple[PlumberHost, Port]]:
    """A broker and a plumber, and a connection."""
    async with plumber_host(base_dir) as found:
        yield found


@asynccontextmanager
async def reader_process(base: Path, pipe: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A reader that can be stopped; it has joined. Killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.pipe_reader", str(base), pipe, *options, stdout=-1, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process) -> str:
    """The last line of a reader."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.read(), 30)).decode().strip()


async def test_deletion_ends_all_readers_whoever_writes(host: tuple[PlumberHost, Port], base_dir: Path) -> None:
    _, port = host
    subscription = await port.subscribe("pipe/minimega/p/end/")
    async with (
        connect(base_dir) as other,
        PipeReader(port, "p") as one,
        PipeReader(other, "p") as two,
        PipeWriter(other, "p") as writer,
    ):
        await ask(port, WritePipe(pipe="p", data=b"last\n", waits=False))
        await ask(port, DeletePipes(pipe="p"))
        for reader in (one, two):
            assert [delivery.data async for delivery in reader] == [b"last\n"]
        assert isinstance(codec.decode_body((await subscription.next()).body), PipeEnded)
        await writer.write(b"into the next\n")
        await asyncio.wait_for(writer.drain(), 10)
    assert (await pipe_info(port, "p")).last == b"into the next\n"


async def test_counts_include_plain_subscribers(host: tuple[PlumberHost, Port]) -> None:
    _, port = host
    await ask(port, WritePipe(pipe="p", data=b"x\n"))
    await ask(port, WritePipe(pipe="pp", data=b"x\n"))
    for prefix in ("pipe/minimega/p/", "pipe/minimega/p/all/", "pipe/minimega/", "pipe/other/"):
        await port.subscribe(prefix)
    async with PipeReader(port, "p"):
        infos = {info.name: info for info in (await ask(port, GetPipes())).pipes}
    assert (infos["p"].readers, infos["p"].subscribers) == (1, 3)
    assert (infos["pp"].readers, infos["pp"].subscribers) == (0, 1)


async def pour(port: Port, pipe: str, chunks: int) -> float:
    """Write much; returns the longest time that a question to the plumber took meanwhile."""
    slowest = 0.0

    async def watch() -> None:
        nonlocal slowest
        while True:
            begin = time.monotonic()
            await ask(port, GetStatus())
            slowest = max(slowest, time.monotonic() - begin)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(60), PipeWriter(port, pipe) as writer:
            for _ in range(chunks):
                await writer.write(CHUNK)
            await writer.write(b"end\n")
    finally:
        watching.cancel()
    return slowest


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_stopped_reader_is_cut_off_or_misses_and_others_get_all(
    host: tuple[PlumberHost, Port], base_dir: Path, overflow: Overflow
) -> None:
    processes, port = host
    await ask(port, SetPipe(pipe="p", overflow=overflow))
    before_mib = processes.memory_mib("plumber")
    async with reader_process(base_dir, "p") as stopped, reader_process(base_dir, "p") as good:
        os.kill(stopped.pid, signal.SIGSTOP)
        slowest = await pour(port, "p", 600)
        assert slowest < 4.0, "the plumber was held up"
        info = await until_pipe(port, "p", readers=1)  # the stopped one is cut off in both cases
        assert (info.cut_off, info.dropped > 0) == (1, True)
        assert processes.memory_mib("plumber") - before_mib < 100
        os.kill(stopped.pid, signal.SIGCONT)
        assert "conflict: " in await said(stopped)
        await ask(port, DeletePipes(pipe="p"))
        count, how = (await said(good)).split()
    if overflow is Overflow.BLOCK:
        assert (int(count), how) == (600 * 600 + 1, "ended")


async def test_a_subscriber_that_stops_reading_slows_nobody(host: tuple[PlumberHost, Port], base_dir: Path) -> None:
    processes, port = host
    async with reader_process(base_dir, "p", "plain") as stopped, reader_process(base_dir, "p", "plain") as good:
        os.kill(stopped.pid, signal.SIGSTOP)
        await pour(port, "p", 300)
        assert (await said(good)).split() == [str(300 * 600 + 1), "lost", "0"]
        assert (await pipe_info(port, "p")).waiting is False
    assert processes.processes["broker"].poll() is None


async def test_ten_thousand_pipes(host: tuple[PlumberHost, Port]) -> None:
    processes, port = host
    before_mib = processes.memory_mib("plumber")
    for first in range(0, 10_000, 500):
        await asyncio.gather(
            *(ask(port, WritePipe(pipe=f"p{number}", data=b"x\n")) for number in range(first, first + 500))
        )
    begin = time.monotonic()
    infos = (await ask(port, GetPipes())).pipes
    assert time.monotonic() - begin < 10.0
    assert len(infos) == 10_000
    assert {info.count for info in infos} == {1}
    assert processes.memory_mib("plumber") - before_mib < 100
    await ask(port, DeletePipes())
    assert (await ask(port, GetPipes())).pipes == ()


async def test_goodbyes_of_strangers_do_no_harm(host: tuple[PlumberHost, Port]) -> None:
    _, port = host
    await ask(port, LeavePipe(pipe="p", reader="nobody", writer="nobody"))
    await ask(port, SetPipe(pipe="p", mode=PipeMode.RANDOM))
    assert (await pipe_info(port, "p")).mode is PipeMode.RANDOM
    with pytest.raises(BusError, match="no such pipe: q"):
        await ask(port, DeletePipes(pipe="q"))


async def test_fifteen_thousand_readers_wait_and_others_are_answered(host: tuple[PlumberHost, Port]) -> None:
    _, port = host
    waiting = [
        asyncio.create_task(port.ask("plumber", ReadPipe(pipe=f"p{number % 3}", reader=f"r{number}"), timeout_s=40.0))
        for number in range(15_000)
    ]
    await until_pipe(port, "p2", readers=5_000)
    await until_pipe(port, "p0", readers=5_000)
    for name in ("p0", "p1", "p2"):
        await ask(port, WritePipe(pipe=name, data=b"x\n", waits=False))
    replies = await asyncio.gather(*waiting)
    assert {reply.deliveries[0].data for reply in replies} == {b"x\n"}
    await ask(port, DeletePipes())
