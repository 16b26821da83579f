"""The pipes that are in use, and those who wait for something of them."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from actors.plumber.flow import FullError
from actors.plumber.pipe import Pipe, Written
from actors.plumber.readers import Attached, CutOff, Deliver, Detached, Done, Effect, Publish
from actors.plumber.table import MAX_OF_NAMESPACE, MAX_PIPES, PipeSettings
from actors.plumber.via import Program, transform
from actors.plumber.writers import NOTHING, TooFarAheadError, TooManyError, Writers
from bus.errors import BusError, CancelledError, ConflictError, InvalidError, OverloadedError
from bus.logs.logs import Log
from bus.messages.base import Event
from bus.messages.pipe import LeavePipe, PipeBatch, PipeEnded, PipeRead, PipeWritten, ReadPipe, WritePipe
from bus.pipe_messages import Content, split
from bus.topics import pipe_end_topic, pipe_topic

MAX_WAITING = 50_000
"""Reads and writes without an answer."""
LOOKED_AT = 100
"""Pipes of a namespace, at most, among which one is sought that can be forgotten."""
LATE_S = 2.0
"""A tick that comes so late tells of this process, not of readers."""
LOGGED_CHARACTERS = 1_000
"""Of one message."""

__all__ = ["Pipe", "Pipes"]


NOTHING_MORE: Mapping[str, str] = {}


class Pipes:
    """See the module. What is asked of a pipe is answered by a future; who cancels it does not wait any more."""

    def __init__(
        self,
        publish: Callable[[str, str, Event], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        log: Log,
        remember: Callable[[Pipe, str, bool], None] = lambda pipe, reader, there: None,
        via_environment: Mapping[str, str] = NOTHING_MORE,
    ) -> None:
        """`publish` takes namespace, topic and event; `spawn` work and its name; `remember` who attached or left.

        `via_environment` is laid over what the programs of vias inherit.
        """
        self._publish = publish
        self._spawn = spawn
        self._log = log
        self._remember = remember
        self._via_environment = via_environment
        self._pipes: dict[tuple[str, str], Pipe] = {}
        self._names: dict[str, OrderedDict[str, None]] = {}
        """By namespace, those that may be used no more first."""
        self._ending: dict[tuple[str, str, str], Pipe] = {}
        """Deleted ones by each of their readers that have not come to the end and left."""
        self._writers: dict[tuple[str, str], Writers] = {}
        """Of deleted pipes: who goes on writing goes on with his numbers."""
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tickets = itertools.count(1)
        self._ticked_s = 0.0
        self.messages = 0
        """That any pipe has passed on."""
        self.size_bytes = 0
        """Of these."""

    @property
    def waiting(self) -> int:
        """How many ask for something that has not happened yet."""
        return len(self._waiting)

    def counters(self) -> dict[str, int]:
        """For statistics."""
        return {
            "pipes": len(self._pipes),
            "pipe_readers": sum(len(pipe.flow.readers) for pipe in self._pipes.values()),
            "pipe_messages": self.messages,
            "pipe_bytes": self.size_bytes,
        }

    def get(self, namespace: str, name: str) -> Pipe | None:
        """A pipe that is in use."""
        return self._pipes.get((namespace, name))

    def of(self, namespace: str) -> Iterator[Pipe]:
        """All that are in use in a namespace."""
        return (self._pipes[namespace, name] for name in self._names.get(namespace, ()))

    def open(self, namespace: str, name: str, settings: PipeSettings) -> Pipe:
        """A pipe, from now on in use; raises OverloadedError if there are too many.

        One that nobody uses any more makes room: guests, for one, can name as many as they like.
        """
        pipe = self._pipes.get((namespace, name))
        if pipe is None:
            if len(self._names.get(namespace, ())) >= MAX_OF_NAMESPACE:
                self._make_room([namespace], MAX_OF_NAMESPACE)
            if len(self._pipes) >= MAX_PIPES:
                self._make_room(sorted(self._names, key=lambda one: -len(self._names[one])), MAX_PIPES)
            self._names.setdefault(namespace, OrderedDict())[name] = None
            writers = self._writers.pop((namespace, name), None)
            pipe = self._pipes[namespace, name] = Pipe(namespace, name, settings, writers)
        return pipe

    def _make_room(self, namespaces: Iterable[str], limit: int) -> None:
        for namespace in namespaces:
            names = self._names[namespace]
            for _ in range(min(LOOKED_AT, len(names))):
                pipe = self._pipes[namespace, next(iter(names))]
                if pipe.is_forgettable:
                    self.end(pipe)
                    return
                names.move_to_end(pipe.name)
        raise OverloadedError(f"there are {limit} pipes already: delete some with `clear pipe`")

    def configure(self, pipe: Pipe, settings: PipeSettings) -> None:
        """Give a pipe other properties."""
        self.carry_out(pipe, pipe.configure(settings))

    def expect(self, pipe: Pipe, readers: Iterable[str], now_s: float) -> None:
        """Wait for those who were attached to a pipe before a crash."""
        pipe.flow.expect(readers, now_s)

    # --- reading

    async def read(self, pipe: Pipe, msg: ReadPipe, now_s: float, deadline: float, *, inside: bool = False) -> PipeRead:
        """More for a reader, nothing at the deadline on the loop's clock.

        Raises ConflictError if it was cut off, OverloadedError if there are too many. A reader `inside` is part of the
        plumber: it may take its time.
        """
        ticket, future = self._wait()
        try:
            effects = pipe.flow.read(
                msg.reader,
                done=msg.done,
                after=msg.after,
                max_bytes=msg.max_bytes,
                ticket=ticket,
                now_s=now_s,
                inside=inside,
            )
        except FullError:
            effects = None
            why: BusError = OverloadedError(f"pipe {pipe.name} has as many readers as it may have")
        else:
            why = ConflictError(f"reader {msg.reader} of {pipe.name} was cut off: it was silent while messages waited")
        if effects is None:
            del self._waiting[ticket]
            raise why
        self.carry_out(pipe, effects)
        try:
            async with asyncio.timeout_at(deadline):
                read: PipeRead = await future
                return read
        except TimeoutError:
            return PipeRead()
        finally:
            if self._waiting.pop(ticket, None) is not None:
                pipe.flow.give_up(msg.reader, ticket)

    # --- writing

    def write(self, pipe: Pipe, msg: WritePipe, content: Content, now_s: float) -> asyncio.Future[None] | None:
        """Take a write; None if it is done. Raises OverloadedError or InvalidError, and has not taken it then."""
        numbered = bool(msg.writer) and msg.waits
        if not pipe.has_room(len(content.data)) and (not numbered or pipe.writers.would_wait(msg.writer, msg.number)):
            raise OverloadedError(f"pipe {pipe.name} is full: a reader does not take what waits for it")
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
            del self._waiting[ticket]
            missing = pipe.writers.known[msg.writer].next
            raise InvalidError(f"write {missing} of {msg.writer} is missing, {msg.number} is too far ahead") from None
        except TooManyError:
            del self._waiting[ticket]
            raise OverloadedError(f"pipe {pipe.name} has as many writers as it may have") from None
        if taken.ticket != ticket:
            del self._waiting[ticket]
            if not taken.ticket:
                return None
            self._fail(taken.ticket, CancelledError("the same write was asked for again"))
            self._waiting[taken.ticket] = future
            return future
        for ready, of in taken.ready:
            self.put(pipe, ready, of)
        return future

    def refuse(self, pipe: Pipe, msg: WritePipe, now_s: float) -> None:
        """A write whose content is no good: those that come after it need not wait for it."""
        if msg.writer and msg.waits:
            self.write(pipe, msg, NOTHING, now_s)

    def put(self, pipe: Pipe, content: Content, ticket: int = 0) -> None:
        """Let messages flow, through the pipe's program if it has one."""
        if pipe.settings.log:
            self._log_messages(pipe, content)
        if not pipe.settings.via and not pipe.via_runs:
            self.carry_out(pipe, pipe.flow.write(content, ticket, taken=True))
            return
        pipe.before_via.append(Written(content, ticket))
        pipe.before_via_bytes += len(content.data)
        if not pipe.via_runs:
            pipe.via_runs = True
            self._spawn(self._run_via(pipe), f"via {pipe.name}")

    async def _run_via(self, pipe: Pipe) -> None:
        """Work off what waits, one write after the other; then this ends."""

        def on_error(reader: str, why: str) -> None:
            pipe.dropped += 1
            pipe.via_failures += 1
            pipe.via_failure = why

        pipe.via_task = asyncio.current_task()
        try:
            while pipe.before_via and not pipe.flow.ended:
                written = pipe.before_via[0]
                content = written.content
                made: list[tuple[str, Content]] | None = None
                program = Program(lambda: pipe.settings.via, self._via_environment)
                async for parts in transform(content, pipe.flow.recipients, program, on_error):
                    if made is not None:
                        await self._passed_on(pipe, content, made)
                        content = Content(b"", 0, content.framed, content.repeated)  # it has been counted
                    made = parts
                if pipe.flow.ended:
                    return
                pipe.before_via.popleft()
                pipe.before_via_bytes -= len(written.content.data)
                self.carry_out(pipe, pipe.flow.write(content, written.ticket, made, taken=True))
        finally:
            pipe.via_runs, pipe.via_task = False, None

    async def _passed_on(self, pipe: Pipe, content: Content, parts: Sequence[tuple[str, Content]]) -> None:
        """A piece of a large result; returns when the readers have it."""
        ticket, future = self._wait()
        self.carry_out(pipe, pipe.flow.write(content, ticket, parts, taken=True))
        await future

    def _log_messages(self, pipe: Pipe, content: Content) -> None:
        for message in split(content.data, framed=content.framed):
            text = message[:LOGGED_CHARACTERS].decode("utf-8", "replace").rstrip("\n")
            self._log.debug("pipe", pipe=str(pipe), message=text)

    # --- leaving and ending

    def close(self, error: Exception) -> None:
        """Everybody who waits is told why there is nothing."""
        for ticket in tuple(self._waiting):
            self._fail(ticket, error)

    def leave(self, pipe: Pipe, msg: LeavePipe) -> None:
        """A reader or a writer is gone."""
        if msg.writer:
            self._forget(pipe.writers.leave(msg.writer))
        if msg.reader:
            self.carry_out(pipe, pipe.flow.leave(msg.reader))

    def leave_ended(self, namespace: str, msg: LeavePipe) -> None:
        """A writer is gone whose pipe was deleted meanwhile, and not made anew."""
        writers = self._writers.get((namespace, msg.pipe))
        if writers is not None:
            self._forget(writers.leave(msg.writer))

    def end(self, pipe: Pipe) -> None:
        """Delete a pipe: its readers come to its end, the next message makes a new one."""
        key = pipe.namespace, pipe.name
        del self._pipes[key]
        del self._names[pipe.namespace][pipe.name]
        if not self._names[pipe.namespace]:
            del self._names[pipe.namespace]
        if pipe.writers.known:
            self._writers[key] = pipe.writers
        self.carry_out(pipe, pipe.flow.end())
        if pipe.via_task is not None:
            pipe.via_task.cancel()  # which ends the program
        for written in pipe.before_via:
            self.carry_out(pipe, [Done(written.ticket)] if written.ticket else [])
        pipe.before_via.clear()
        pipe.tell_if_taken()
        self.expect_end(pipe)
        self._publish(pipe.namespace, pipe_end_topic(*key), PipeEnded(count=pipe.flow.seq))

    def expect_end(self, pipe: Pipe) -> None:
        """Have a deleted pipe's readers come to its end."""
        for reader in pipe.flow.readers:
            self._ending[pipe.namespace, pipe.name, reader] = pipe

    def ending(self, namespace: str, name: str, reader: str) -> Pipe | None:
        """The deleted pipe that a reader has not come to the end of."""
        return self._ending.get((namespace, name, reader))

    def tick(self, now_s: float, welcomed_s: float = 0.0) -> None:
        """Part with readers and writers that fell silent; but not while the broker, last heard then, says nothing."""
        is_deaf = bool(welcomed_s) and now_s - welcomed_s > LATE_S
        late_s = now_s - self._ticked_s if self._ticked_s else 0.0
        self._ticked_s = now_s
        for pipe in (*self._pipes.values(), *set(self._ending.values())):
            if late_s > LATE_S or is_deaf:
                pipe.flow.pardon(late_s)
            if pipe.flow.readers:
                self.carry_out(pipe, pipe.flow.tick(now_s))
            if pipe.writers.known:
                self._forget(pipe.writers.tick(now_s))
            if pipe.via_failures:
                self._log.warn("via_failed", pipe=str(pipe), error=pipe.via_failure, times=pipe.via_failures)
                pipe.via_failures = 0
        for key, writers in tuple(self._writers.items()):
            self._forget(writers.tick(now_s))
            if not writers.known:
                del self._writers[key]

    # --- what is to be done about it

    def carry_out(self, pipe: Pipe, effects: Iterable[Effect]) -> None:
        """Publish, and answer those who wait."""
        for effect in effects:
            match effect:
                case Publish(first_seq, content, reader):
                    self.messages += content.count
                    self.size_bytes += len(content.data)
                    topic = pipe_topic(pipe.namespace, pipe.name, reader)
                    self._publish(pipe.namespace, topic, _batch(first_seq, content))
                case Deliver(ticket, deliveries, lost, ended):
                    self._answer(ticket, PipeRead(deliveries=deliveries, lost=lost, ended=ended))
                case Done(ticket):
                    for answered in pipe.writers.done(ticket):
                        self._answer(answered, PipeWritten(number=0))
                case CutOff(reader, lost):
                    self._log.warn("reader_cut_off", pipe=str(pipe), reader=reader, lost=lost)
                case Attached(reader, inside):
                    if not inside:
                        self._remember(pipe, reader, True)
                case Detached(reader, inside):
                    self._ending.pop((pipe.namespace, pipe.name, reader), None)
                    if not inside:
                        self._remember(pipe, reader, False)
        pipe.tell_if_taken()

    def _wait(self) -> tuple[int, asyncio.Future[Any]]:
        if len(self._waiting) >= MAX_WAITING:
            raise OverloadedError(f"{MAX_WAITING} readers and writers of pipes wait already")
        ticket = next(self._tickets)
        future = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        return ticket, future

    def _answer(self, ticket: int, body: Any) -> None:
        future = self._waiting.pop(ticket, None)
        if future is not None and not future.done():
            future.set_result(body)

    def _fail(self, ticket: int, error: Exception) -> None:
        future = self._waiting.pop(ticket, None)
        if future is not None and not future.done():
            future.set_exception(error)
            future.exception()  # marks it as seen: the asker may be gone already

    def _forget(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._fail(ticket, CancelledError("the writer has left"))


def _batch(first_seq: int, content: Content) -> PipeBatch:
    return PipeBatch(
        first_seq=first_seq,
        count=content.count,
        data=content.data,
        framed=content.framed,
        repeated=content.repeated,
    )
