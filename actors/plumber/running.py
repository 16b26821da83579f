"""The pipelines that run, by the numbers that `pipeline_state` knows them by."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from actors.plumber.pipe import Pipe
from actors.plumber.pipeline import ElementError, ProgramStage, Stage, stage_of
from actors.plumber.pipeline_table import (
    PipelineEnded,
    PipelineRecord,
    PipelineRefused,
    PipelineStarted,
    Process,
)
from actors.plumber.pipes import Pipes
from actors.plumber.run import GRACE_S, Run, readers
from actors.plumber.stages import OpenPipe
from bus.actor.step import Input
from bus.errors import BusError
from bus.logs.logs import Log
from bus.messages.pipe import LeavePipe
from bus.messages.pipeline import StageInfo
from shims.programs import line_buffering, process, process_tree
from shims.programs.process_tree import Tree
from shims.programs.program_chain import is_program

SEEN_S = 2.0
"""How long it may take until a pipeline whose programs were ended has been noticed to be over."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RunningPipelines:
    """See the module. `feed` takes what becomes of them."""

    def __init__(
        self,
        tag: str,
        pipes: Pipes,
        open_pipe: OpenPipe,
        log: Log,
        *,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        feed: Callable[[Input], None],
    ) -> None:
        self._tag = tag
        self._pipes = pipes
        self._open_pipe = open_pipe
        self._log = log
        self._spawn = spawn
        self._feed = feed
        self._runs: dict[int, Run] = {}
        self._expected: dict[int, list[tuple[Pipe, str]]] = {}
        """Pipes that keep messages for one that is to be started again, and its readers."""
        self._buffering: Mapping[str, str] | None = None
        self._boot_id = BOOT_ID.read_text().strip()
        self._closing = False

    def expect(self, record: PipelineRecord) -> None:
        """What is written into the pipes that one reads is kept until it is started again."""
        with contextlib.suppress(ElementError, BusError):
            stages = _stages(record, process.environment(record.env))
            expected = self._expected.setdefault(record.number, [])
            for stage, reader in readers(stages, _reader(record.number)):
                pipe = self._open_pipe(stage)
                self._pipes.expect(pipe, [reader], time.monotonic())
                pipe.flow.readers[reader].inside = True
                expected.append((pipe, reader))

    async def start(self, record: PipelineRecord) -> None:
        """Start one, or nothing of it."""
        env = {**process.environment({**await self._by_lines(), **record.env}), process_tree.MARK: self._mark(record)}
        if self._closing:
            return  # the next process starts it
        number = record.number
        expected = self._expected.pop(number, [])
        try:
            stages = _stages(record, env)
            texts = [element.text for element in record.elements]
            run = Run(stages, texts, env, _reader(number), self._pipes, self._open_pipe)
        except (ElementError, process.NotStartedError, BusError) as error:
            self._forget(expected)
            self._feed(PipelineRefused(number=number, code=_code(error), message=str(error)))
            return
        self._forget([one for one in expected if self._pipes.get(one[0].namespace, one[0].name) is not one[0]])
        self._runs[number] = run
        self._feed(self._started(number, stages, run))
        self._spawn(self._follow(number, run), f"pipeline {number}")

    def _forget(self, expected: Iterable[tuple[Pipe, str]]) -> None:
        for pipe, reader in expected:
            self._pipes.leave(pipe, LeavePipe(pipe=pipe.name, reader=reader))

    def _started(self, number: int, stages: list[Stage], run: Run) -> PipelineStarted:
        return PipelineStarted(
            number=number,
            stages=run.infos,
            processes=tuple(Process(one.tree.pid, one.tree.ticks) for one in run.processes.values()),
            boot_id=self._boot_id,
            begins_with_program=isinstance(stages[0], ProgramStage),
        )

    async def _follow(self, number: int, run: Run) -> None:
        try:
            error = await run.follow()
        except Exception as bug:
            self._log.exception("pipeline_failed", bug, number=number)
            error = "internal error in the plumber; its log tells which"
            run.abandon()
        finally:
            del self._runs[number]
        if not self._closing:
            self._feed(PipelineEnded(number=number, stages=run.infos, error=error))

    async def _by_lines(self) -> Mapping[str, str]:
        """Variables that make programs write line by line."""
        if self._buffering is None:
            try:
                self._buffering = await line_buffering.variables()
            except process.NotStartedError as error:
                self._log.warn("lines_are_buffered", error=str(error))
                self._buffering = line_buffering.PYTHON
        return self._buffering

    def _mark(self, record: PipelineRecord) -> str:
        return f"{self._tag}-{record.mark}"

    def infos(self, number: int) -> tuple[StageInfo, ...]:
        """The stages of one as they are now; none if it does not run."""
        run = self._runs.get(number)
        return run.infos if run else ()

    async def stop(self, numbers: Iterable[int], grace_s: float = GRACE_S) -> None:
        """End some; on return they are over, unless the kernel itself does not let their programs go."""
        runs = [run for number in numbers if (run := self._runs.get(number)) is not None]
        for run in runs:
            run.stop()
        await self._end([tree for run in runs for tree in run.trees], grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEEN_S):
                for run in runs:
                    await run.over.wait()

    async def end_left(self, records: Iterable[PipelineRecord]) -> None:
        """End what an earlier process has left of these."""
        trees = []
        for record in records:
            if record.boot_id in ("", self._boot_id):
                trees += [Tree(self._mark(record), one.pid, one.ticks) for one in record.processes]
                trees.append(Tree(self._mark(record)))
        await self._end(trees, GRACE_S)

    async def close(self, grace_s: float) -> None:
        """This process ends: so do they, and nobody is told, since its successor decides what becomes of them."""
        self._closing = True
        await self.stop(tuple(self._runs), grace_s)

    async def _end(self, trees: list[Tree], grace_s: float) -> None:
        if not trees:
            return
        ending = await asyncio.to_thread(process_tree.end, trees, grace_s)
        if ending.left:
            self._log.error("programs_do_not_end", pids=" ".join(map(str, ending.left)))


def _stages(record: PipelineRecord, env: Mapping[str, str]) -> list[Stage]:
    """What its elements mean now; raises ElementError."""
    return [stage_of(element, record.namespace, lambda name: is_program(name, env)) for element in record.elements]


def _reader(number: int) -> str:
    """What the names of its readers begin with."""
    return f"pipeline-{number}"


def _code(error: Exception) -> str:
    if isinstance(error, BusError):
        return error.code
    if isinstance(error, process.NotStartedError):
        return "not_found" if error.missing else "unavailable"
    return "invalid"
