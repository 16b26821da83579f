"""Pipelines that run: real programs, real pipes of the plumber, and no bus."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from actors.plumber.pipe import Pipe
from actors.plumber.pipeline import PipeStage, ProgramStage
from actors.plumber.pipes import Pipes
from actors.plumber.readers import MAX_QUEUE_BYTES
from actors.plumber.run import Run
from actors.plumber.table import PipeSettings
from bus.errors import OverloadedError
from bus.logs.logs import Log
from bus.messages.base import Event
from bus.messages.pipe import LeavePipe, PipeBatch, PipeMode, ReadPipe
from bus.pipe_messages import MAX_MESSAGE, content_of, frame
from shims.programs import line_buffering, process, process_tree
from shims.programs.process import NotStartedError

PATIENCE_S = 20.0


class Bench:
    """Pipes, what was published of them, and pipelines on them."""

    def __init__(self) -> None:
        self.published: dict[str, bytes] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.pipes = Pipes(self._publish, self._spawn, Log("test"))
        self.settings: dict[str, PipeSettings] = {}
        self.runs: list[tuple[Run, asyncio.Task[str]]] = []
        self.env: dict[str, str] = {}

    def _publish(self, namespace: str, topic: str, event: Event) -> None:
        if isinstance(event, PipeBatch):
            name = topic.split("/")[2]
            self.published[name] = self.published.get(name, b"") + event.data

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def pipe(self, name: str) -> Pipe:
        return self.pipes.open("exp", name, self.settings.get(name, PipeSettings()))

    def run(self, *elements: str | list[str]) -> Run:
        """Start one: a text is a pipe, a list a program."""
        stages = [
            PipeStage("exp", element) if isinstance(element, str) else ProgramStage(tuple(element))
            for element in elements
        ]
        texts = [element if isinstance(element, str) else " ".join(element) for element in elements]
        env = {**process.environment(self.env), process_tree.MARK: f"test-run-{time.monotonic_ns()}"}
        run = Run(stages, texts, env, f"pipeline-{len(self.runs)}", self.pipes, lambda stage: self.pipe(stage.pipe))
        self.runs.append((run, asyncio.ensure_future(run.follow())))
        return run

    async def ended(self, run: Run) -> str:
        """Wait for its end; what went wrong."""
        (following,) = (task for one, task in self.runs if one is run)
        async with asyncio.timeout(PATIENCE_S):
            return await following

    def write(self, name: str, data: bytes, *, framed: bool = False) -> None:
        self.pipes.put(self.pipe(name), content_of(data, framed=framed))

    def delete(self, name: str) -> None:
        self.pipes.end(self.pipe(name))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it is so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def until_out(self, name: str, data: bytes) -> None:
        """Wait until so much has come out of a pipe, and nothing else."""
        with contextlib.suppress(TimeoutError):
            await self.until(lambda: len(self.published.get(name, b"")) >= len(data))
        assert self.published.get(name, b"") == data


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """At the end nothing runs any more, and nobody is attached to a pipe."""
    made = Bench()
    try:
        yield made
    finally:
        for run, following in made.runs:
            run.stop()
            await asyncio.to_thread(process_tree.end, run.trees, 0.1)
            await asyncio.wait([following], timeout=PATIENCE_S)
            assert following.done()
            assert run.trees == [] or process_tree.members(run.trees) == []
    assert {pipe.name: (set(pipe.flow.readers), pipe.feeders) for pipe in made.pipes.of("exp")} == {
        pipe.name: (set(), 0) for pipe in made.pipes.of("exp")
    }


# ---------------------------------------------------------------- data


async def test_lines_through_programs_between_pipes() -> None:
    async with bench() as made:
        made.env = await line_buffering.variables()
        made.run("a", ["grep", "-v", "b"], ["sed", "s/$/!/"], "out")
        made.write("a", b"a\nb\nc\n")
        await made.until_out("out", b"a!\nc!\n")
        made.write("a", b"d\n")
        await made.until_out("out", b"a!\nc!\nd!\n")


async def test_the_last_line_is_never_lost() -> None:
    async with bench() as made:
        runs = [made.run(["printf", "1\\n2\\n3"], "out") for _ in range(30)]
        for run in runs:
            assert await made.ended(run) == ""
        assert sorted(made.published["out"].split()) == [b"1"] * 30 + [b"2"] * 30 + [b"3"] * 30


async def test_filters_that_speak_at_the_end() -> None:
    async with bench() as made:
        run = made.run("a", ["sort"], "sorted", ["wc", "-l"], "counted")
        made.write("a", b"c\nb\na\n")
        made.delete("a")
        assert await made.ended(run) == ""
        assert made.published["sorted"] == b"a\nb\nc\n"
        assert made.published["counted"] == b"3\n"


async def test_pipes_in_a_row_and_third_parties() -> None:
    async with bench() as made:
        made.run("a", "b", "c")
        made.write("a", b"1\n")
        made.write("b", b"2\n")
        await made.until(lambda: len(made.published.get("c", b"")) == 4)
        assert sorted(made.published["c"].split()) == [b"1", b"2"]


async def test_programs_alone() -> None:
    async with bench() as made:
        run = made.run(["sh", "-c", "echo hidden"], ["cat"])
        assert await made.ended(run) == ""
        assert [info.exit_status for info in run.infos] == [0, 0]


async def test_any_bytes_and_long_lines() -> None:
    async with bench() as made:
        made.run("a", ["cat"], "out")
        data = b"\xff\0\r\n" + b"x" * 300_000 + b"\n\n" + b"y" * (MAX_MESSAGE - 1) + b"\n"
        made.write("a", data)
        await made.until_out("out", data)


async def test_a_line_longer_than_a_message_ends_the_pipeline() -> None:
    async with bench() as made:
        run = made.run(["head", "-c", str(MAX_MESSAGE + 100_000), "/dev/zero"], "out")
        assert await made.ended(run) == f"a line is longer than {MAX_MESSAGE} bytes"
        assert "out" not in made.published


async def test_framed_messages_stay_framed_between_pipes_and_lose_it_to_programs() -> None:
    async with bench() as made:
        made.run("a", "b")
        made.run("a", ["cat"], "out")
        data = frame(b"one\n") + frame(b"two\n")
        made.write("a", data, framed=True)
        await made.until_out("b", data)
        await made.until_out("out", b"one\ntwo\n")


async def test_single_recipient_modes_and_vias_apply() -> None:
    async with bench() as made:
        made.settings["a"] = PipeSettings(mode=PipeMode.ROUND_ROBIN)
        made.settings["b"] = PipeSettings(via=("tr", "a-z", "A-Z"))
        for name in ("b", "c"):
            made.run("a", name)
        made.write("a", b"x\nx\nx\nx\n")
        await made.until(lambda: len(made.published.get("c", b"")) == 4)
        await made.until_out("b", b"X\nX\n")


# ---------------------------------------------------------------- ends


async def test_one_in_the_middle_that_has_enough() -> None:
    async with bench() as made:
        run = made.run(["yes"], "between", ["head", "-n", "1"], "out")
        assert await made.ended(run) == ""
        assert made.published["out"] == b"y\n"


async def test_one_that_is_last_and_has_ended_without_a_message() -> None:
    async with bench() as made:
        run = made.run("a", ["true"])
        assert await made.ended(run) == ""


async def test_one_before_it_that_never_writes_is_ended() -> None:
    async with bench() as made:
        begun = time.monotonic()
        run = made.run(["sh", "-c", "trap '' TERM PIPE; while :; do sleep 100; done"], ["true"], "out")
        assert await made.ended(run) == ""
        assert run.infos[0].exit_status == -9
        assert time.monotonic() - begun < 15


async def test_failures_are_told() -> None:
    async with bench() as made:
        run = made.run("a", ["sh", "-c", "echo oh no >&2; exit 3"], "out")
        assert await made.ended(run) == "sh: exit status 3: oh no"
        assert run.infos[1].stderr == "oh no\n"
        run = made.run(["sh", "-c", "echo said; exit 4"], ["cat"], "out")
        assert await made.ended(run) == "sh: exit status 4"
        assert made.published["out"] == b"said\n"


async def test_children_that_outlive_their_program_are_ended() -> None:
    async with bench() as made:
        run = made.run(["sh", "-c", "sleep 1017 >/dev/null & setsid sleep 1017 >/dev/null & echo on"], "out")
        assert await made.ended(run) == ""
        assert made.published["out"] == b"on\n"
        assert [one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "1017"]] == []


async def test_a_pipe_that_is_written_may_be_deleted() -> None:
    async with bench() as made:
        made.run("a", ["cat"], "out")
        made.write("a", b"1\n")
        await made.until_out("out", b"1\n")
        made.delete("out")
        made.write("a", b"2\n")
        await made.until_out("out", b"1\n2\n")
        assert made.pipe("out").feeders == 1


async def test_a_pipe_in_the_middle_that_is_deleted_ends_it() -> None:
    async with bench() as made:
        run = made.run("a", "b", ["wc", "-l"], "out")
        made.write("a", b"1\n2\n")
        await made.until(lambda: made.published.get("b"))
        made.delete("b")
        assert await made.ended(run) == ""
        assert made.published["out"] == b"2\n"


async def test_what_does_not_start_leaves_nothing() -> None:
    async with bench() as made:
        with pytest.raises(NotStartedError):
            made.run("a", ["sleep", "1000"], "b", ["nonesuch"], "c")
        assert {pipe.name: (len(pipe.flow.readers), pipe.feeders) for pipe in made.pipes.of("exp")} == {"c": (0, 0)}

        def full(stage: PipeStage) -> Pipe:
            if stage.pipe == "a":
                raise OverloadedError("too many")
            return made.pipe(stage.pipe)

        stages = (PipeStage("exp", "a"), ProgramStage(("sleep", "1000")), PipeStage("exp", "c"))
        with pytest.raises(OverloadedError):
            Run(stages, ("a", "sleep", "c"), process.environment({}), "r", made.pipes, full)


# ---------------------------------------------------------------- back-pressure and circles


async def test_a_program_that_does_not_read_holds_its_pipe_back() -> None:
    async with bench() as made:
        run = made.run("a", ["sleep", "1000"])
        piece = b"x" * 65_535 + b"\n"
        for _ in range(MAX_QUEUE_BYTES // len(piece) + 40):
            made.write("a", piece)
        flow = made.pipe("a").flow
        assert flow.holding
        await asyncio.sleep(0)  # now it runs
        now_s = time.monotonic()
        for later_s in range(100):
            made.pipes.tick(now_s + later_s)
        assert (len(flow.readers), flow.cut_off) == (1, 0)
        run.stop()
        await asyncio.to_thread(process_tree.end, run.trees, 0.1)
        await made.until(lambda: not flow.holding)


async def test_a_slow_reader_holds_a_program_back() -> None:
    async with bench() as made:
        out = made.pipe("out")
        await made.pipes.read(out, ReadPipe(pipe="out", reader="slow", max_bytes=0), time.monotonic(), 0)
        made.run(["yes"], "out")
        await made.until(lambda: out.flow.holding)
        assert out.flow.held_bytes < 1 << 20
        count = out.flow.seq
        read = await made.pipes.read(out, ReadPipe(pipe="out", reader="slow"), time.monotonic(), 0)
        last = read.deliveries[-1].number
        await made.pipes.read(out, ReadPipe(pipe="out", reader="slow", done=last, after=last), time.monotonic(), 0)
        await made.until(lambda: out.flow.seq > count)
        made.pipes.leave(out, LeavePipe(pipe="out", reader="slow"))


@pytest.mark.parametrize("elements", [["a", "a"], ["a", ["cat"], "a"], ["a", "b", ["cat"], "a"]])
async def test_one_that_feeds_itself_leaves_room_for_others(elements: list[str | list[str]]) -> None:
    async with bench() as made:
        made.run(*elements)
        made.write("a", b"x\n" * 10)
        flow = made.pipe("a").flow
        await made.until(lambda: flow.seq > 1000)
        begun, cpu = time.monotonic(), time.process_time()
        late_s = 0.0  # by the processor's time: the machine may be busy
        while time.monotonic() - begun < 0.5:
            before = time.process_time()
            await asyncio.sleep(0.001)
            late_s = max(late_s, time.process_time() - before)
        assert late_s < 0.2
        assert time.process_time() - cpu < 0.45


async def test_one_that_is_ended_before_it_has_begun() -> None:
    async with bench() as made:
        made.run("a", ["sleep", "1000"], "b").stop()
