"""The shell of the `plumber` actor: the pipes in use, their readers, writers and subscribers."""

from __future__ import annotations

import asyncio
import socket
import time

from actors.plumber import state
from actors.plumber.messages import MessageError, content_of
from actors.plumber.pipes import Pipe, Pipes
from actors.plumber.state import Changed, Delete, Deleted
from actors.plumber.table import PlumberTable, name_error
from bus import codec
from bus.actor import RequestContext, query
from bus.errors import BusError, CancelledError, InvalidError, NotFoundError
from bus.messages.base import Ack, Message
from bus.messages.envelope import Envelope
from bus.messages.pipe import (
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
from bus.paths import Context
from bus.step import Effect, Input
from bus.step_actor import StepActor
from bus.topics import words
from shims import process

TICK_S = 1.0
MARGIN_S = 1.0
"""An answer leaves so long before the asker gives up."""
INPUT = "pipe-in/"
INPUT_CAPACITY = 10_000
"""Batches of publishers that wait to be taken."""


class PlumberActor(StepActor[PlumberTable]):
    """Owner of pipes."""

    kind = "plumber"
    state_type = PlumberTable

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self.pipes = Pipes(
            lambda namespace, topic, event: self.publish(topic, event, namespace=namespace),
            lambda work, name: self.spawn(work, name=name),
            self.log,
        )

    def initial_state(self) -> PlumberTable:
        """No pipes."""
        return PlumberTable()

    def step(self, state_: PlumberTable, inp: Input) -> list[Effect]:
        """See `actors.plumber.state`."""
        return state.step(state_, inp)

    async def on_start(self) -> None:
        """Listen to publishers, and to the clock."""
        process.raise_descriptor_limit()
        self.spawn(self._take_input(), name="pipe-in")
        self.spawn(self._tick(), name="tick")

    async def stop(self) -> None:
        """Let go of those who wait; they ask again."""
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
                pipe = self._open(namespace, name)
                pipe.configure(self.state.settings(namespace, name))
            case Delete():
                self._delete(effect)
            case _:
                await super().carry_out(effect)

    # --- requests

    @query
    async def read_pipe(self, msg: ReadPipe, request: RequestContext) -> PipeRead:
        """More for a reader."""
        pipe = self.pipes.ending(request.namespace, msg.pipe, msg.reader) or self._open(request.namespace, msg.pipe)
        return await self.pipes.read(pipe, msg, time.monotonic(), request.deadline - MARGIN_S)

    @query
    async def write_pipe(self, msg: WritePipe, request: RequestContext) -> PipeWritten:
        """Messages from a writer."""
        pipe = self._open(request.namespace, msg.pipe)
        try:
            content = content_of(msg.data, framed=msg.framed, repeated=msg.repeated)
        except MessageError as error:
            raise InvalidError(f"pipe {msg.pipe}: {error}") from error
        future = self.pipes.write(pipe, msg, content, time.monotonic())
        if future is not None:
            await future
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
        return Ack()

    @query
    async def get_pipes(self, msg: GetPipes, request: RequestContext) -> PipeList:
        """Pipes in use, and those that only have properties."""
        known = self.state.pipes.get(request.namespace, {})
        infos = {name: Pipe(request.namespace, name, settings).info() for name, settings in known.items()}
        infos |= {pipe.name: pipe.info() for pipe in self.pipes.of(request.namespace)}
        chosen = [infos[msg.pipe]] if msg.pipe in infos else [] if msg.pipe else sorted(infos.values(), key=_name)
        return PipeList(pipes=tuple(chosen))

    # --- the rest

    def _open(self, namespace: str, name: str) -> Pipe:
        sentence = name_error(name)
        if sentence:
            raise InvalidError(sentence)
        return self.pipes.open(namespace, name, self.state.settings(namespace, name))

    def _delete(self, effect: Delete) -> None:
        found = [pipe for pipe in self.pipes.of(effect.namespace) if effect.pipe in ("", pipe.name)]
        for pipe in found:
            self.pipes.end(pipe)
        missing = effect.pipe and not (found or effect.known)
        self.feed(Deleted(msg_id=effect.msg_id, error=f"no such pipe: {effect.pipe}" if missing else ""))

    async def _take_input(self) -> None:
        """Publishers have no answer to wait for: what there is no room for is dropped and counted."""
        subscription = await self.port.subscribe(INPUT, capacity=INPUT_CAPACITY)
        async for delivery in subscription:
            _, namespace, name = words(delivery.topic)
            try:
                body = codec.decode_body(delivery.body)
                if not isinstance(body, PipeInput):
                    raise InvalidError(f"not input for a pipe: {type(body).__name__}")
                pipe = self._open(namespace, name)
                content = content_of(body.data, framed=body.framed)
                if pipe.flow.holding:
                    pipe.dropped += content.count
                else:
                    self.pipes.put(pipe, content)
            except (BusError, MessageError) as error:
                self.log.warn("input_refused", topic=delivery.topic, error=str(error))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.pipes.tick(time.monotonic())


def _name(info: PipeInfo) -> str:
    return info.name
