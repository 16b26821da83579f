"""The pipes that are in use, and those who wait for something of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import msgspec

from actors.plumber.flow import CutOff, Deliver, Done, Effect, Flow, FullError, Publish
from actors.plumber.messages import Content, split
from actors.plumber.table import MAX_PIPES, PipeSettings
from actors.plumber.via import EVERYBODY, transform
from actors.plumber.writers import TooFarAheadError, Writers
from bus.errors import ConflictError, InvalidError, OverloadedError
from bus.logs import Log
from bus.messages.base import Event
from bus.messages.pipe import LeavePipe, PipeBatch, PipeInfo, PipeRead, PipeWritten, ReadPipe, WritePipe
from bus.topics import pipe_topic

MAX_BEFORE_VIA = 1_000
"""Writes that wait for a pipe's program."""
SHOWN_BYTES = 256
"""Of the last message in a list of pipes."""


class Pipe:
    """One pipe in use."""

    def __init__(self, namespace: str, name: str, settings: PipeSettings) -> None:
        self.namespace = namespace
        self.name = name
        self.flow = Flow()
        self.writers = Writers()
        self.dropped = 0
        """Messages that publishers wrote while there was no room, or that its via made nothing of."""
        self.before_via: deque[tuple[Content, int]] = deque()
        """Writes that its program has not worked on yet, with their tickets."""
        self.via_runs = False
        self.configure(settings)

    def configure(self, settings: PipeSettings) -> None:
        """Its properties from now on."""
        self.settings = settings
        self.flow.mode = settings.mode
        self.flow.overflow = settings.overflow

    def info(self) -> PipeInfo:
        """As `pipe` shows it."""
        return PipeInfo(
            name=self.name,
            **msgspec.structs.asdict(self.settings),
            readers=len(self.flow.readers),
            writers=len(self.writers.known),
            count=self.flow.seq,
            dropped=self.dropped + self.flow.dropped,
            cut_off=self.flow.cut_off,
            waiting=self.flow.holding,
            last=self.flow.last[:SHOWN_BYTES],
        )


class Pipes:
    """See the module. What is asked of a pipe is answered by a future; who cancels it does not wait any more."""

    def __init__(
        self,
        publish: Callable[[str, str, Event], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        log: Log,
    ) -> None:
        """`publish` takes namespace, topic and event; `spawn` work and its name."""
        self._publish = publish
        self._spawn = spawn
        self._log = log
        self._pipes: dict[tuple[str, str], Pipe] = {}
        self._ending: list[Pipe] = []
        """Deleted, with readers that have not come to the end."""
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tickets = itertools.count(1)

    def get(self, namespace: str, name: str) -> Pipe | None:
        """A pipe that is in use."""
        return self._pipes.get((namespace, name))

    def of(self, namespace: str) -> Iterator[Pipe]:
        """All that are in use in a namespace."""
        return (pipe for (where, _), pipe in self._pipes.items() if where == namespace)

    def open(self, namespace: str, name: str, settings: PipeSettings) -> Pipe:
        """A pipe, from now on in use; raises OverloadedError if there are too many."""
        pipe = self._pipes.get((namespace, name))
        if pipe is None:
            if len(self._pipes) >= MAX_PIPES:
                raise OverloadedError(f"there are {MAX_PIPES} pipes already: delete some with `clear pipe`")
            pipe = self._pipes[namespace, name] = Pipe(namespace, name, settings)
        return pipe

    # --- what others ask

    async def read(self, pipe: Pipe, msg: ReadPipe, now_s: float, deadline: float) -> PipeRead:
        """More for a reader, nothing at the deadline on the loop's clock; raises ConflictError if it was cut off."""
        ticket, future = self._wait()
        effects = pipe.flow.read(
            msg.reader, done=msg.done, after=msg.after, max_bytes=msg.max_bytes, ticket=ticket, now_s=now_s
        )
        if effects is None:
            self._waiting.pop(ticket)
            raise ConflictError(f"reader {msg.reader} of {pipe.name} was cut off: it was silent, and messages waited")
        self.carry_out(pipe, effects)
        try:
            async with asyncio.timeout_at(deadline):
                read: PipeRead = await future
                return read
        except TimeoutError:
            pipe.flow.give_up(msg.reader, ticket)
            return PipeRead()

    def write(self, pipe: Pipe, msg: WritePipe, content: Content, now_s: float) -> asyncio.Future[None] | None:
        """Take a write; None if it is done. Raises OverloadedError or InvalidError."""
        if not msg.waits:
            self.put(pipe, content)
            return None
        ticket, future = self._wait()
        if not msg.writer:
            self.put(pipe, content, ticket)
            return future
        try:
            taken = pipe.writers.take(msg.writer, msg.number, msg.oldest, content, ticket, now_s)
        except TooFarAheadError:
            self._waiting.pop(ticket)
            raise InvalidError(f"write {pipe.writers.known[msg.writer].next} of {msg.writer} is missing") from None
        if taken.ticket != ticket:
            del self._waiting[ticket]
            if taken.ticket:
                self._waiting[taken.ticket] = future
                return future
            return None
        for ready, of in taken.ready:
            self.put(pipe, ready, of)
        return future

    def put(self, pipe: Pipe, content: Content, ticket: int = 0) -> None:
        """Let messages flow, through the pipe's program if it has one. Raises OverloadedError."""
        if pipe.settings.log:
            self._log_messages(pipe, content)
        if not pipe.settings.via and not pipe.via_runs:
            self._let_flow(pipe, content, ticket)
            return
        if len(pipe.before_via) >= MAX_BEFORE_VIA:
            self._refuse(pipe, ticket)
        pipe.before_via.append((content, ticket))
        if not pipe.via_runs:
            pipe.via_runs = True
            self._spawn(self._run_via(pipe), f"via {pipe.name}")

    async def _run_via(self, pipe: Pipe) -> None:
        """Work off what waits, one write after the other; then this ends."""

        def on_error(reader: str, why: str) -> None:
            pipe.dropped += 1
            self._log.warn("via_failed", pipe=f"{pipe.namespace}//{pipe.name}", reader=reader, error=why)

        try:
            while pipe.before_via:
                content, ticket = pipe.before_via[0]
                parts = None
                if pipe.settings.via:
                    parts = await transform(content, pipe.flow.recipients, pipe.settings.via, on_error)
                pipe.before_via.popleft()
                if parts and parts[0][0] == EVERYBODY:
                    content, parts = parts[0][1], None
                with contextlib.suppress(OverloadedError):
                    self._let_flow(pipe, content, ticket, parts)
        finally:
            pipe.via_runs = False

    def _let_flow(
        self, pipe: Pipe, content: Content, ticket: int, parts: Sequence[tuple[str, Content]] | None = None
    ) -> None:
        try:
            effects = pipe.flow.write(content, ticket, parts)
        except FullError:
            self._refuse(pipe, ticket)
        else:
            self.carry_out(pipe, effects)

    def _refuse(self, pipe: Pipe, ticket: int) -> NoReturn:
        pipe.writers.done(ticket)
        self._waiting.pop(ticket, None)
        raise OverloadedError(f"pipe {pipe.name} is full: a reader does not take what waits for it")

    def _log_messages(self, pipe: Pipe, content: Content) -> None:
        for message in split(content.data, framed=content.framed):
            text = message.decode("utf-8", "replace").rstrip("\n")
            self._log.debug("pipe", pipe=f"{pipe.namespace}//{pipe.name}", message=text)

    def close(self, error: Exception) -> None:
        """Everybody who waits is told why there is nothing."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    def leave(self, pipe: Pipe, msg: LeavePipe) -> None:
        """A reader or a writer is gone."""
        if msg.writer:
            pipe.writers.leave(msg.writer)
        if msg.reader:
            self.carry_out(pipe, pipe.flow.leave(msg.reader))

    def end(self, pipe: Pipe) -> None:
        """Delete a pipe: its readers come to its end, the next message makes a new one."""
        del self._pipes[pipe.namespace, pipe.name]
        self.carry_out(pipe, pipe.flow.end())
        if pipe.flow.readers:
            self._ending.append(pipe)

    def ending(self, namespace: str, name: str, reader: str) -> Pipe | None:
        """The deleted pipe that a reader has not come to the end of."""
        for pipe in self._ending:
            if (pipe.namespace, pipe.name) == (namespace, name) and reader in pipe.flow.readers:
                return pipe
        return None

    def tick(self, now_s: float) -> None:
        """Part with readers and writers that fell silent."""
        for pipe in (*self._pipes.values(), *self._ending):
            self.carry_out(pipe, pipe.flow.tick(now_s))
            pipe.writers.tick(now_s)
        self._ending = [pipe for pipe in self._ending if pipe.flow.readers]

    # --- what is to be done about it

    def carry_out(self, pipe: Pipe, effects: Iterable[Effect]) -> None:
        """Publish, and answer those who wait."""
        for effect in effects:
            match effect:
                case Publish(first_seq, content, reader):
                    topic = pipe_topic(pipe.namespace, pipe.name, reader)
                    self._publish(pipe.namespace, topic, _batch(first_seq, content))
                case Deliver(ticket, deliveries, lost, ended):
                    self._answer(ticket, PipeRead(deliveries=deliveries, lost=lost, ended=ended))
                case Done(ticket):
                    pipe.writers.done(ticket)
                    self._answer(ticket, PipeWritten(number=0))
                case CutOff(reader, lost):
                    name = f"{pipe.namespace}//{pipe.name}"
                    self._log.warn("reader_cut_off", pipe=name, reader=reader, lost=lost)

    def _wait(self) -> tuple[int, asyncio.Future[Any]]:
        ticket = next(self._tickets)
        future = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        return ticket, future

    def _answer(self, ticket: int, body: Any) -> None:
        future = self._waiting.pop(ticket, None)
        if future is not None and not future.done():
            future.set_result(body)


def _batch(first_seq: int, content: Content) -> PipeBatch:
    return PipeBatch(
        first_seq=first_seq,
        count=content.count,
        data=content.data,
        framed=content.framed,
        repeated=content.repeated,
    )
