"""One pipeline while it runs: its programs, the links between them and pipes, and how it comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from actors.plumber.pipeline import Ended, PipeStage, ProgramStage, Stage, needless, problem, segments
from actors.plumber.pipes import Pipes
from actors.plumber.stages import OpenPipe, PipeSink, PipeSource, ProgramSink, ProgramSource, Sink, Source, move
from bus.errors import BusError
from bus.messages.pipeline import StageInfo
from bus.pipe_messages import MessageError
from shims.programs import process_tree
from shims.programs.process_tree import Tree
from shims.programs.program_chain import Chain, ChainProgram

MOMENT_S = 0.1
"""A program that nobody needs any more, and ends by itself within this time, has ended for reasons of its own."""
GRACE_S = 2.0
"""What such a program has until SIGTERM, and then until SIGKILL."""


def readers(stages: Sequence[Stage], prefix: str) -> list[tuple[PipeStage, str]]:
    """The pipes that a pipeline reads, and what it is called as their reader."""
    parts = segments(stages)
    return [(part.pipe, f"{prefix}-{part.first}") for part in parts[:-1] if part.pipe is not None]


class Run:
    """See the module. `texts` are the elements as they were written."""

    def __init__(
        self,
        stages: Sequence[Stage],
        texts: Sequence[str],
        env: Mapping[str, str],
        reader: str,
        pipes: Pipes,
        open_pipe: OpenPipe,
    ) -> None:
        """Attach to the pipes and start the programs, or do neither: raises BusError or NotStartedError."""
        self._parts = segments(stages)
        self._texts = texts
        self._names = [stage.argv[0] if isinstance(stage, ProgramStage) else "" for stage in stages]
        self._mark = env.get(process_tree.MARK, "")
        self._sources: list[Source] = []
        self._sinks: list[Sink] = []
        self._chains: list[Chain] = []
        self._programs: dict[int, ChainProgram] = {}
        """By number of the stage."""
        self._excused: set[int] = set()
        self._links: list[asyncio.Task[None]] = []
        self._group = asyncio.TaskGroup()
        self._error = ""
        self._stopping = False
        self.over = asyncio.Event()
        """Nothing of it runs any more."""
        try:
            self._build(stages, env, reader, pipes, open_pipe)
        except BaseException:
            for chain in self._chains:
                chain.abandon()
            self._let_go()
            raise

    def _build(
        self, stages: Sequence[Stage], env: Mapping[str, str], reader: str, pipes: Pipes, open_pipe: OpenPipe
    ) -> None:
        """From the end to the beginning: when something begins to flow, whoever comes after it is there."""
        final = len(self._parts) - 1
        names = [name for _, name in readers(stages, reader)]
        for number in range(final, -1, -1):
            part = self._parts[number]
            if part.pipe is not None:
                if number > 0:
                    self._sinks.insert(0, PipeSink(pipes, open_pipe, part.pipe))
                if number < final:
                    self._sources.insert(0, PipeSource(pipes, open_pipe(part.pipe), names.pop()))
                continue
            argvs = [stage.argv for stage in stages[part.first : part.last + 1] if isinstance(stage, ProgramStage)]
            chain = Chain(argvs, env, fed=number > 0, read=number < final)
            self._chains.append(chain)
            self._programs |= dict(zip(range(part.first, part.last + 1), chain.programs, strict=True))
            if chain.stdin is not None:
                self._sinks.insert(0, ProgramSink(chain.stdin))
            if chain.stdout is not None:
                self._sources.insert(0, ProgramSource(chain.stdout))

    # --- what others see

    @property
    def processes(self) -> dict[int, ChainProgram]:
        """Its programs by number of the stage."""
        return self._programs

    @property
    def infos(self) -> tuple[StageInfo, ...]:
        """Its stages as they are now."""
        return tuple(self._info(at, text) for at, text in enumerate(self._texts))

    def _info(self, at: int, text: str) -> StageInfo:
        program = self._programs.get(at)
        if program is None:
            return StageInfo(text=text)
        return StageInfo(
            text=text, program=True, pid=program.pid, exit_status=program.exit_status, stderr=program.stderr
        )

    @property
    def trees(self) -> list[Tree]:
        """All processes of it, those included that its programs have started; none if it has no programs."""
        running = [program.tree for program in self._programs.values() if not program.ended.is_set()]
        return [*running, Tree(self._mark)] if self._programs else []

    # --- from beginning to end

    async def follow(self) -> str:
        """Let it flow until everything has ended; what went wrong in one sentence, empty if nothing did."""
        try:
            async with self._group as group:
                self._links = [group.create_task(self._link(number)) for number in range(len(self._sources))]
                for at, program in self._programs.items():
                    group.create_task(self._watch(at, program))
                if self._stopping:
                    self.stop()
            if not all(program.silent for program in self._programs.values()):  # somebody else still has its stderr
                await _end([Tree(self._mark)])
        finally:
            self._let_go()
            self.over.set()
        return self._error or problem(tuple(self._ended()))

    def _ended(self) -> Iterator[Ended]:
        for at, program in sorted(self._programs.items()):
            status = program.exit_status or 0
            yield Ended(self._names[at], status, program.stderr, at in self._excused, at == len(self._texts) - 1)

    async def _link(self, number: int) -> None:
        try:
            await move(self._sources[number], self._sinks[number])
        except BrokenPipeError:
            pass
        except (MessageError, BusError) as error:
            if not self._stopping:
                self._error = self._error or str(error)
        finally:
            self._sources[number].close()
            self._sinks[number].close()
            if number + 1 < len(self._sources):
                after = self._sources[number + 1]
                if isinstance(after, PipeSource):
                    after.finish()
            self._not_needed(self._parts[number + 1].first)

    async def _watch(self, at: int, program: ChainProgram) -> None:
        await program.wait()
        self._not_needed(at)

    def _not_needed(self, stage: int) -> None:
        """This one takes nothing more: end what only worked for it."""
        links, stages = needless(self._parts, stage)
        for number in links:
            if self._links:
                self._links[number].cancel()
        late = {at: program for at in stages if (program := self._programs.get(at)) and not program.ended.is_set()}
        if late and not self._stopping:
            self._group.create_task(self._end_late(late))

    async def _end_late(self, programs: Mapping[int, ChainProgram]) -> None:
        if await _have_ended(programs.values(), MOMENT_S):
            return
        self._excused |= {at for at, program in programs.items() if not program.ended.is_set()}
        if await _have_ended(programs.values(), GRACE_S):
            return
        await _end([program.tree for program in programs.values() if not program.ended.is_set()])

    def stop(self) -> None:
        """Let nothing flow any more; whoever calls this ends the processes."""
        self._stopping = True
        for link in self._links:
            link.cancel()

    def abandon(self) -> None:
        """End its programs at once, after `follow` has failed."""
        for program in self._programs.values():
            program.kill()

    def _let_go(self) -> None:
        """Of all pipes; links that have run did so by themselves."""
        for end in (*self._sources, *self._sinks):
            end.close()
        for chain in self._chains:
            chain.close()


async def _have_ended(programs: Iterable[ChainProgram], patience_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            for program in programs:
                await program.ended.wait()
            return True
    return False


async def _end(trees: Sequence[Tree]) -> None:
    await asyncio.to_thread(process_tree.end, trees, GRACE_S)
