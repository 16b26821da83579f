"""Pipes with what is published kept in a list: who waits is answered, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.plumber import pipe as pipe_module
from actors.plumber import pipes as pipes_module
from actors.plumber import state as state_module
from actors.plumber.pipes import Pipe, Pipes
from actors.plumber.table import DEFAULT, PipeSettings, PlumberTable
from bus.actor.step import Fail, Received
from bus.errors import BusError, CancelledError, ConflictError, OverloadedError
from bus.logs.logs import Log
from bus.messages.base import Event
from bus.messages.pipe import (
    LeavePipe,
    Overflow,
    PipeBatch,
    PipeEnded,
    PipeMode,
    PipeRead,
    ReadPipe,
    SetPipe,
    WritePipe,
)
from bus.pipe_messages import content_of

SOON_S = 5.0


class Bench:
    """Pipes, what they published, and whom they remember."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Event]] = []
        self.remembered: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self.pipes = Pipes(self._publish, self._spawn, Log("test"), self._remember)
        self.pipe = self.pipes.open("minimega", "p", DEFAULT)
        self.now_s = 0.0

    def _publish(self, namespace: str, topic: str, event: Event) -> None:
        self.published.append((topic, event))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    def _remember(self, pipe: Pipe, reader: str, there: bool) -> None:
        (self.remembered.add if there else self.remembered.discard)(reader)

    async def read(
        self, reader: str = "r", *, done: int = 0, wait_s: float = SOON_S, max_bytes: int = 1 << 20
    ) -> PipeRead:
        """A read that says that it is done with what it has."""
        msg = ReadPipe(pipe="p", reader=reader, done=done, after=done, max_bytes=max_bytes)
        where = self.pipes.ending("minimega", "p", reader) or self.pipe
        return await self.pipes.read(where, msg, self.now_s, asyncio.get_running_loop().time() + wait_s)

    def write(self, text: str, number: int = 0, **fields: Any) -> asyncio.Future[None] | None:
        """A write of a numbered writer, or of nobody in particular."""
        msg = WritePipe(pipe="p", writer="w" if number else "", number=number or 1, data=text.encode(), **fields)
        return self.pipes.write(self.pipe, msg, content_of(msg.data), self.now_s)


async def test_a_read_waits_and_a_write_is_answered_when_the_reader_is_done() -> None:
    bench = Bench()
    reading = asyncio.create_task(bench.read())
    await asyncio.sleep(0)
    written = bench.write("a\n", 1)
    assert written is not None
    (delivery,) = (await reading).deliveries
    assert delivery.data == b"a\n"
    assert not written.done()
    await bench.read(done=1, max_bytes=0)
    assert written.done()
    assert [topic for topic, _ in bench.published] == ["pipe/minimega/p/all/"]


async def test_a_read_that_waits_in_vain_is_answered_with_nothing() -> None:
    bench = Bench()
    assert await bench.read(wait_s=0.01) == PipeRead()
    assert bench.pipes._waiting == {}


async def test_the_same_write_twice_is_answered_where_it_was_asked_last() -> None:
    bench = Bench()
    await bench.read(max_bytes=0)
    first, second = bench.write("a\n", 1), bench.write("a\n", 1)
    assert first is not None
    assert second is not None
    assert isinstance(first.exception(), CancelledError)
    await bench.read(done=0, wait_s=0.01)
    await bench.read(done=1, max_bytes=0)
    assert second.done()
    assert second.exception() is None
    assert bench.pipes._waiting == {}


async def test_a_refused_write_is_not_taken_for_written_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_module, "MAX_HELD_BYTES", 4)
    monkeypatch.setattr("actors.plumber.readers.MAX_QUEUE_BYTES", 2)
    bench = Bench()
    await bench.read(max_bytes=0)
    for number in (1, 2, 3):
        bench.write("a\n", number)
    with pytest.raises(OverloadedError, match="pipe p is full"):
        bench.write("b\n", 4)
    for done in range(1, 4):
        await bench.read(done=done - 1)
        await bench.read(done=done, max_bytes=0)
    again = bench.write("b\n", 4)
    assert again is not None
    assert (await bench.read(done=3)).deliveries[0].data == b"b\n"


async def test_a_write_of_bad_content_holds_up_nobody() -> None:
    bench = Bench()
    await bench.read(max_bytes=0)
    early = bench.write("b\n", 2)
    assert early is not None
    bench.pipes.refuse(bench.pipe, WritePipe(pipe="p", writer="w", number=1, data=b""), 0.0)
    assert (await bench.read()).deliveries[0].data == b"b\n"


async def test_deletion_ends_readers_and_a_writer_goes_on_with_its_numbers() -> None:
    bench = Bench()
    reading = asyncio.create_task(bench.read())
    await asyncio.sleep(0)
    bench.write("a\n", 1)
    await reading
    bench.pipes.end(bench.pipe)
    assert isinstance(bench.published[-1][1], PipeEnded)
    assert bench.remembered == {"r"}
    assert (await bench.read(done=1)).ended
    assert (await bench.read(done=1)).ended  # the first answer may have been lost
    ended = bench.pipes.ending("minimega", "p", "r")
    assert ended is not None
    bench.pipes.leave(ended, LeavePipe(pipe="p", reader="r"))
    assert bench.pipes.ending("minimega", "p", "r") is None
    assert bench.remembered == set()
    bench.pipe = bench.pipes.open("minimega", "p", DEFAULT)
    written = bench.write("b\n", 2)
    assert written is not None
    assert written.done()
    assert bench.pipe.flow.seq == 1


async def test_who_was_attached_before_a_crash_gets_what_was_written_meanwhile() -> None:
    bench = Bench()
    bench.pipes.expect(bench.pipe, ["r"], 0.0)
    written = bench.write("a\n", 7, oldest=7, repeated=True)
    assert written is not None
    assert not written.done()
    (delivery,) = (await bench.read(done=41)).deliveries
    assert (delivery.number, delivery.data) == (42, b"a\n")
    await bench.read(done=42, max_bytes=0)
    assert written.done()


async def test_a_sign_of_life_from_before_a_crash_does_not_set_the_numbers() -> None:
    bench = Bench()
    bench.pipes.expect(bench.pipe, ["r"], 0.0)
    written = bench.write("a\n", 1)
    assert written is not None
    await bench.read(done=40, max_bytes=0)
    assert not written.done()
    (delivery,) = (await bench.read(done=41)).deliveries
    assert delivery.number == 42


async def test_who_does_not_come_back_after_a_crash_is_cut_off() -> None:
    bench = Bench()
    bench.pipes.expect(bench.pipe, ["r"], 0.0)
    written = bench.write("a\n", 1)
    assert written is not None
    bench.pipes.tick(1.0)
    for second in range(2, 7):
        bench.pipes.tick(float(second))
    assert written.done()
    assert bench.pipe.flow.cut_off == 1
    with pytest.raises(ConflictError, match="reader r of p was cut off"):
        await bench.read(done=3)


async def test_time_in_which_the_plumber_slept_is_no_readers_silence() -> None:
    bench = Bench()
    await bench.read(max_bytes=0)
    bench.write("a\n", 1)
    bench.pipes.tick(1.0)
    bench.pipes.tick(100.0)
    assert bench.pipe.flow.cut_off == 0


async def test_in_a_pipe_that_drops_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.plumber.readers.MAX_QUEUE_BYTES", 4)
    bench = Bench()
    bench.pipes.configure(bench.pipe, PipeSettings(overflow=Overflow.DROP))
    await bench.read(max_bytes=0)
    for number in range(1, 6):
        written = bench.write("a\n", number)
        assert written is not None
        assert written.done()
    read = await bench.read()
    assert (len(read.deliveries), read.lost) == (2, 3)


async def test_more_than_one_program_result_is_published_with_its_pipes_numbers() -> None:
    bench = Bench()
    bench.pipes.configure(bench.pipe, PipeSettings(via=("sed", "p")))
    written = bench.write("a\nb\n")
    assert written is not None
    await asyncio.wait_for(written, SOON_S)
    await asyncio.gather(*bench.tasks)
    ((topic, batch),) = bench.published
    assert isinstance(batch, PipeBatch)
    assert (topic, batch.data, batch.count) == ("pipe/minimega/p/all/", b"a\na\nb\nb\n", 4)


async def test_everybody_who_waits_is_told_that_the_plumber_ends() -> None:
    bench = Bench()
    reading = asyncio.create_task(bench.read())
    await asyncio.sleep(0)
    bench.pipes.close(CancelledError("ending"))
    with pytest.raises(BusError, match="ending"):
        await reading


async def test_nobody_is_silent_while_the_broker_is() -> None:
    bench = Bench()
    await bench.read(max_bytes=0)
    bench.write("a\n", 1)
    for now_s in range(1, 20):
        bench.pipes.tick(float(now_s), welcomed_s=0.5)
    assert "r" in bench.pipe.flow.readers
    for now_s in range(20, 30):
        bench.pipes.tick(float(now_s), welcomed_s=float(now_s))
    assert "r" not in bench.pipe.flow.readers


async def test_pipes_that_nobody_uses_make_room_and_one_namespace_has_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest may name pipes as long as it likes."""
    monkeypatch.setattr(pipes_module, "MAX_OF_NAMESPACE", 10)
    monkeypatch.setattr(pipes_module, "MAX_PIPES", 15)
    bench = Bench()
    await bench.read(max_bytes=0)  # of `p`
    kept = bench.pipes.open("minimega", "kept", PipeSettings(log=True))
    for number in range(100):
        bench.pipes.open("minimega", f"x{number}", DEFAULT)
    assert bench.pipes.get("minimega", "p") is bench.pipe
    assert bench.pipes.get("minimega", "kept") is kept
    assert [pipe.name for pipe in bench.pipes.of("minimega") if pipe.name.startswith("x")] == [
        f"x{number}" for number in range(92, 100)
    ]
    for number in range(7):
        bench.pipes.open("other", f"y{number}", DEFAULT)
    assert (len(list(bench.pipes.of("minimega"))), len(list(bench.pipes.of("other")))) == (8, 7)
    for number in range(10):
        bench.pipes.open("third", f"z{number}", PipeSettings(log=True))
    assert sum(len(list(bench.pipes.of(name))) for name in ("minimega", "other", "third")) == 15
    with pytest.raises(OverloadedError, match="there are 10 pipes already"):
        bench.pipes.open("third", "z10", DEFAULT)
    ends = [topic for topic, event in bench.published if isinstance(event, PipeEnded)]
    assert len(ends) == len(set(ends)) == 104
    for pipe in tuple(bench.pipes.of("third")):
        bench.pipes.end(pipe)
    assert list(bench.pipes.of("third")) == []


def test_one_namespace_has_not_all_properties_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_OF_NAMESPACE", 2)
    monkeypatch.setattr(state_module, "MAX_PIPES", 3)
    table = PlumberTable()

    def refused(pipe: str, namespace: str) -> list[str]:
        message = SetPipe(pipe=pipe, mode=PipeMode.RANDOM)
        inp = Received(msg_id="m", body=message, namespace=namespace)
        return [effect.message for effect in state_module.step(table, inp) if isinstance(effect, Fail)]

    assert [refused(pipe, "a") for pipe in "ppqqr"] == [[], [], [], [], ["2 pipes have properties already"]]
    assert [refused(pipe, "b") for pipe in "pq"] == [[], ["3 pipes have properties already"]]
