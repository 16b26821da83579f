"""The shell of the `plumber` actor: the pipes in use, their readers, writers and subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from actors.plumber import pipeline_state, state
from actors.plumber.pipeline_table import EndLeft, PipelinesCleared, Spawn, Stop
from actors.plumber.pipes import Pipe, Pipes
from actors.plumber.running import RunningPipelines
from actors.plumber.state import Changed, Delete, Deleted, ReaderKept
from actors.plumber.table import DEFAULT, PlumberTable, client_error
from bus import codec
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.actor.turns import key_of
from bus.errors import BusError, CancelledError, DeadlineError, InvalidError, NotFoundError, OverloadedError
from bus.language.pipe_names import name_error
from bus.messages.base import Ack, Message
from bus.messages.control import CountAllReaders
from bus.messages.envelope import Envelope
from bus.messages.pipe import (
    DeletePipes,
    GetPipes,
    LeavePipe,
    PipeInfo,
    PipeInput,
    PipeList,
    PipeRead,
    PipeWritten,
    ReadPipe,
    SetPipe,
    WritePipe,
)
from bus.messages.pipeline import (
    ClearPipelines,
    GetPipelines,
    PipelineList,
    StartPipeline,
)
from bus.paths import Context
from bus.pipe_messages import MessageError, content_of
from bus.topics import pipe_topic, words
from shims.programs import process, process_tree
from shims.programs.process_tree import Tree

TICK_S = 1.0
MARGIN_S = 1.0
"""An answer leaves so long before the asker gives up."""
MAX_WAIT_S = 60.0
"""For a message, however long the asker would wait: he may have gone, and nobody tells."""
COUNT_S = 3.0
"""For the broker to count subscribers."""
COUNTED = 500
"""Pipes whose subscribers it counts at a time: it does nothing else meanwhile."""
SHOWN_TOPIC = 200
STOP_GRACE_S = 1.5
"""For programs of pipelines when this process ends, which the node waits for."""
INPUT = "pipe-in/"
INPUT_CAPACITY = 10_000
"""Batches of publishers that wait to be taken."""


class PlumberActor(StepActor[PlumberTable]):
    """Owner of pipes."""

    kind = "plumber"
    state_type = PlumberTable
    requests = (SetPipe, DeletePipes, StartPipeline, ClearPipelines)
    unpaced = (PipeRead,)

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self._via_mark = f"{context.tag}-via"
        self.pipes = Pipes(
            lambda namespace, topic, event: self.publish(topic, event, namespace=namespace),
            lambda work, name: self.spawn(work, name=name),
            self.log,
            self._remember,
            {process_tree.MARK: self._via_mark},
        )
        self.running = RunningPipelines(
            context.tag,
            self.pipes,
            lambda stage: self._open(stage.namespace, stage.pipe),
            self.log,
            spawn=lambda work, name: self.spawn(work, name=name),
            feed=self.feed,
        )
        self._lists: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Held while pipes are listed; by key of a remote client."""
        self._refused = 0
        """Inputs of publishers since that was last logged."""
        self._refusal = ""

    def inbox(self) -> int:
        """Without the many who only wait for a message, or for a reader."""
        return max(0, super().inbox() - self.pipes.waiting)

    def counters(self) -> dict[str, int]:
        """What flows."""
        return self.pipes.counters()

    def initial_state(self) -> PlumberTable:
        """No pipes."""
        return PlumberTable()

    def step(self, state_: PlumberTable, inp: Input) -> list[Effect]:
        """See `actors.plumber.state`."""
        return state.step(state_, inp)

    async def on_start(self) -> None:
        """Listen to publishers, and to the clock; readers of before a crash are waited for, its vias ended."""
        process_tree.end([Tree(self._via_mark)], 0.0)
        process.offer_own_programs()
        self._expect_readers()
        for record in pipeline_state.restarting(self.state.pipelines):
            self.running.expect(record)
        self.spawn(self._take_input(), name="pipe-in")
        self.spawn(self._tick(), name="tick")

    async def stop(self) -> None:
        """Let go of those who wait; they ask again. End pipelines, which the next start takes up again."""
        await self.running.close(STOP_GRACE_S)
        self.pipes.close(CancelledError("the plumber is ending"))
        await super().stop()

    def take(self, envelope: Envelope, request: Message) -> None:
        """A via must be a program that is there."""
        if isinstance(request, SetPipe) and request.via:
            try:
                process.find_program(request.via[0], process.environment({}))
            except process.NotStartedError as error:
                raise NotFoundError(str(error)) from error
        super().take(envelope, request)

    async def carry_out(self, effect: Effect) -> None:
        """What the core cannot do itself."""
        match effect:
            case Changed(namespace=namespace, pipe=name):
                with contextlib.suppress(OverloadedError):  # it has its properties when there is room for it
                    self.pipes.configure(self._open(namespace, name), self.state.settings(namespace, name))
            case Delete():
                self._delete(effect)
            case Spawn(number=number):
                if (record := self.state.pipelines.records.get(number)) is not None:
                    await self.running.start(record)
            case Stop():
                self.spawn(self._stop_pipelines(effect), name=f"stop {effect.msg_id}")
            case EndLeft(records=records):
                await self.running.end_left(records)
            case _:
                await super().carry_out(effect)

    # --- requests

    @query
    async def read_pipe(self, msg: ReadPipe, request: RequestContext) -> PipeRead:
        """More for a reader."""
        _check_client(msg.reader)
        pipe = self.pipes.ending(request.namespace, msg.pipe, msg.reader) or self._open(request.namespace, msg.pipe)
        until = min(request.deadline - MARGIN_S, asyncio.get_running_loop().time() + MAX_WAIT_S)
        return await self.pipes.read(pipe, msg, time.monotonic(), until)

    @query
    async def write_pipe(self, msg: WritePipe, request: RequestContext) -> PipeWritten:
        """Messages from a writer."""
        if msg.writer:
            _check_client(msg.writer)
        if msg.number < 1:
            raise InvalidError(f"writes are numbered from 1, not {msg.number}")
        pipe = self._open(request.namespace, msg.pipe)
        try:
            content = content_of(msg.data, framed=msg.framed, repeated=msg.repeated)
        except MessageError as error:
            self.pipes.refuse(pipe, msg, time.monotonic())
            raise InvalidError(f"pipe {msg.pipe}: {error}") from error
        future = self.pipes.write(pipe, msg, content, time.monotonic())
        if future is not None:
            try:
                async with asyncio.timeout_at(request.deadline):
                    await future
            except TimeoutError:
                raise DeadlineError(f"the readers of pipe {msg.pipe} do not have it yet") from None
        return PipeWritten(number=msg.number)

    @query
    async def leave_pipe(self, msg: LeavePipe, request: RequestContext) -> Ack:
        """A goodbye."""
        for pipe in (
            self.pipes.get(request.namespace, msg.pipe),
            self.pipes.ending(request.namespace, msg.pipe, msg.reader),
        ):
            if pipe is not None:
                self.pipes.leave(pipe, msg)
        self.pipes.leave_ended(request.namespace, msg)
        return Ack()

    @query
    async def get_pipes(self, msg: GetPipes, request: RequestContext) -> PipeList:
        """Pipes in use, and those that only have properties, with their subscribers.

        There may be thousands, and a remote client may ask for them thousands of times: its lists are made one after
        the other, and each in pieces.
        """
        async with self._lists.setdefault(key_of(request.msg_id) or request.msg_id, asyncio.Lock()):
            return PipeList(pipes=tuple([info async for info in self._infos(request.namespace, msg.pipe)]))

    async def _infos(self, namespace: str, name: str) -> AsyncIterator[PipeInfo]:
        known = self.state.pipes.get(namespace, {})
        in_use = {pipe.name: pipe for pipe in self.pipes.of(namespace)}
        chosen = sorted(known.keys() | in_use.keys()) if not name else [name] * (name in known or name in in_use)
        for start in range(0, len(chosen), COUNTED):
            some = chosen[start : start + COUNTED]
            topics = tuple(pipe_topic(namespace, one) for one in some)
            counted = await self.ask("broker", CountAllReaders(topics=topics), timeout_s=COUNT_S)
            for one, subscribers in zip(some, counted.covering, strict=True):
                yield (in_use.get(one) or Pipe(namespace, one, known[one])).info(subscribers)

    @query
    async def get_pipelines(self, msg: GetPipelines, request: RequestContext) -> PipelineList:
        """Pipelines with their stages as they are now."""
        found = [one for one in self.state.pipelines.records.values() if one.namespace == request.namespace]
        infos = [pipeline_state.info_of(record, self.running.infos(record.number)) for record in found]
        return PipelineList(pipelines=tuple(sorted(infos, key=lambda info: info.name)))

    # --- the rest

    async def _stop_pipelines(self, effect: Stop) -> None:
        await self.running.stop(effect.numbers)
        self.feed(PipelinesCleared(msg_id=effect.msg_id))

    def _open(self, namespace: str, name: str) -> Pipe:
        if self.pipes.get(namespace, name) is None and (sentence := name_error(name, namespace)):
            raise InvalidError(sentence)
        return self.pipes.open(namespace, name, self.state.settings(namespace, name))

    def _delete(self, effect: Delete) -> None:
        found = [pipe for pipe in self.pipes.of(effect.namespace) if effect.pipe in ("", pipe.name)]
        for pipe in found:
            self.pipes.end(pipe)
        missing = effect.pipe and not (found or effect.known)
        self.feed(Deleted(msg_id=effect.msg_id, error=f"no such pipe: {effect.pipe}" if missing else ""))

    def _expect_readers(self) -> None:
        """Those that were attached when the plumber before this one ended."""
        now_s = time.monotonic()
        for namespace, pipes in self.state.readers.items():
            for name, readers in pipes.items():
                if staying := [reader for reader, ended in readers.items() if not ended]:
                    self.pipes.expect(self._open(namespace, name), staying, now_s)
                if told := [reader for reader, ended in readers.items() if ended]:
                    deleted = Pipe(namespace, name, DEFAULT)
                    deleted.flow.ended = True
                    self.pipes.expect(deleted, told, now_s)
                    self.pipes.expect_end(deleted)

    def _remember(self, pipe: Pipe, reader: str, there: bool) -> None:
        self.feed(ReaderKept(namespace=pipe.namespace, pipe=pipe.name, reader=reader, there=there))

    async def _take_input(self) -> None:
        """Publishers have no answer to wait for: what there is no room for is dropped and counted."""
        subscription = await self.port.subscribe(INPUT, capacity=INPUT_CAPACITY)
        async for delivery in subscription:
            try:
                self._take_published(delivery.topic, codec.decode_body(delivery.body))
            except (BusError, MessageError, ValueError) as error:
                self._refused += 1
                self._refusal = f"{delivery.topic[:SHOWN_TOPIC]}: {error}"

    def _take_published(self, topic: str, body: Message) -> None:
        _, namespace, name = words(topic)
        if not isinstance(body, PipeInput):
            raise InvalidError(f"not input for a pipe: {type(body).__name__}")
        pipe = self._open(namespace, name)
        content = content_of(body.data, framed=body.framed)
        if pipe.flow.holding or not pipe.has_room(len(content.data)):
            pipe.dropped += content.count
        else:
            self.pipes.put(pipe, content)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.pipes.tick(time.monotonic(), self.port.welcomed_s)
            if self._refused:
                self.log.warn("input_refused", error=self._refusal, times=self._refused)
                self._refused = 0


def _check_client(name: str) -> None:
    if sentence := client_error(name):
        raise InvalidError(sentence)
