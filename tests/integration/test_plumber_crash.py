"""The plumber, or the broker, dies under load: what a writer was told arrives, in order, and repeats are marked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bus.client import connect
from bus.errors import ConflictError
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.pipe import DeletePipes, Delivery, PipeMode, ReadPipe, SetPipe
from bus.port import Port
from tests.integration.plumber_host import PlumberHost, plumber_host, until_pipe

PER_WRITE = 50
WRITES = 400


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[tuple[PlumberHost, Port]]:
    """A broker and a plumber, and a connection."""
    async with plumber_host(base_dir) as found:
        yield found


class Received:
    """Numbered lines as they come; what must not be is an error at once."""

    def __init__(self) -> None:
        self.last = 0
        self.repeats = 0

    def take(self, delivery: Delivery) -> None:
        """Look at each line's number: the next one, or one that was seen, in a batch that says so."""
        for line in delivery.data.splitlines():
            number = int(line)
            if number <= self.last:
                assert delivery.repeated, f"{number} again, unmarked, after {self.last}"
                self.repeats += 1
            else:
                assert number == self.last + 1, f"{number} after {self.last}"
                self.last = number


async def write_numbers(port: Port, pipe: str, disturb: Callable[[int], None]) -> None:
    """All numbers, acknowledged in the end; `disturb` is called before each write."""
    async with PipeWriter(port, pipe) as writer:
        for write in range(WRITES):
            disturb(write)
            first = write * PER_WRITE + 1
            await writer.write(b"".join(b"%d\n" % number for number in range(first, first + PER_WRITE)))


async def read_until_end(reader: PipeReader, received: Received) -> None:
    """Everything, up to the deletion of the pipe."""
    async for delivery in reader:
        received.take(delivery)


@pytest.mark.parametrize("victim", ["plumber", "broker"])
async def test_what_was_acknowledged_arrives_whatever_dies(
    host: tuple[PlumberHost, Port], base_dir: Path, victim: str
) -> None:
    processes, port = host
    received = [Received(), Received()]

    def disturb(write: int) -> None:
        if write in (60, 150, 151, 300):
            processes.restart(victim)

    async with connect(base_dir) as other, PipeReader(port, "p") as one, PipeReader(other, "p") as two:
        reading = [
            asyncio.create_task(read_until_end(reader, found))
            for reader, found in zip((one, two), received, strict=True)
        ]
        await write_numbers(other, "p", disturb)
        assert [found.last for found in received] == [WRITES * PER_WRITE] * 2, "acknowledged, and not with a reader"
        await port.ask("plumber", DeletePipes(pipe="p"), timeout_s=10.0)
        await asyncio.gather(*reading)


async def test_round_robin_goes_on_after_a_crash(host: tuple[PlumberHost, Port], base_dir: Path) -> None:
    processes, port = host
    await port.ask("plumber", SetPipe(pipe="p", mode=PipeMode.ROUND_ROBIN), timeout_s=10.0)
    got: list[set[int]] = [set(), set(), set()]

    async def read(reader: PipeReader, numbers: set[int]) -> None:
        async for delivery in reader:
            numbers.update(map(int, delivery.data.splitlines()))

    def disturb(write: int) -> None:
        if write in (100, 250):
            processes.restart("plumber")

    async with (
        connect(base_dir) as other,
        PipeReader(port, "p") as one,
        PipeReader(other, "p") as two,
        PipeReader(other, "p") as three,
    ):
        reading = [
            asyncio.create_task(read(reader, numbers)) for reader, numbers in zip((one, two, three), got, strict=True)
        ]
        await write_numbers(port, "p", disturb)
        await port.ask("plumber", DeletePipes(pipe="p"), timeout_s=10.0)
        await asyncio.gather(*reading)
    assert set.union(*got) == set(range(1, WRITES * PER_WRITE + 1))
    assert all(len(numbers) > WRITES * PER_WRITE / 6 for numbers in got)


async def test_properties_and_the_end_of_a_deleted_pipe_survive(host: tuple[PlumberHost, Port], base_dir: Path) -> None:
    processes, port = host
    await port.ask("plumber", SetPipe(pipe="kept", mode=PipeMode.RANDOM, via=("cat",)), timeout_s=10.0)
    async with PipeReader(port, "gone") as reader, PipeWriter(port, "gone") as writer:
        await writer.write(b"not dealt with\n")
        first = await reader.next()
        assert first is not None
        await port.ask("plumber", DeletePipes(pipe="gone"), timeout_s=10.0)
        processes.restart("plumber")
        assert await asyncio.wait_for(reader.next(), 15) is None
    info = await until_pipe(port, "kept", mode=PipeMode.RANDOM)
    assert info.via == ("cat",)


async def test_a_reader_that_does_not_come_back_holds_nobody_up_for_long(host: tuple[PlumberHost, Port]) -> None:
    processes, port = host
    await port.ask("plumber", ReadPipe(pipe="p", reader="lost", max_bytes=0), timeout_s=10.0)
    processes.restart("plumber")
    async with asyncio.timeout(20), PipeWriter(port, "p") as writer:
        await writer.write(b"x\n")
    info = await until_pipe(port, "p", readers=0)
    assert (info.cut_off, info.dropped) == (1, 1)
    with pytest.raises(ConflictError, match="cut off"):
        await port.ask("plumber", ReadPipe(pipe="p", reader="lost"), timeout_s=10.0)
