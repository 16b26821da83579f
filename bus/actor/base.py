"""The base of every actor: a process on the bus that answers requests and publishes events.

`Actor` answers with handler methods. `StepActor` adds durable state behind a pure `step` (see `bus.actor.step`): an
input is journaled, then stepped, then its effects are carried out; what comes of them returns as further inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import inspect
import os
import socket
import typing
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from bus import codec, errors
from bus.actor.turns import Turns, key_of
from bus.logs import logs
from bus.logs.log_format import Value
from bus.messages.base import DEFAULT_NAMESPACE, Ack, Event, Message, Request, reply_type
from bus.messages.control import GetStatus, LogRecord, Ping, Status
from bus.messages.debug import Inspection
from bus.messages.envelope import Envelope
from bus.node.lifecycle import Process, run_process
from bus.paths import Context
from bus.port import Port
from bus.retry import Retry
from bus.topics import log_topic, stats_topic

STATS_INTERVAL_S = 1.0
MAX_INBOX = 10_000
"""Requests under way, before further ones are refused as overloaded."""
DRAIN_S = 1.0
"""How long handlers that are under way may go on once the actor has been told to end."""
RETRY_PAUSE_S = (0.02, 0.5)
UNREACHABLE_S = 15.0
"""How long nobody at an address is taken for a restart, however long the asker would wait for the answer."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT}
"""What may be better a moment later, and is no bug."""

R = TypeVar("R", bound=Message)


class RequestContext(msgspec.Struct, frozen=True):
    """What a handler may want to know about the request besides its body."""

    msg_id: str
    sender: str
    namespace: str
    deadline: float
    """On the loop's clock."""


_current: contextvars.ContextVar[RequestContext | None] = contextvars.ContextVar("request", default=None)

Handler = Callable[[Any, Any, RequestContext], Awaitable[Message]]
H = TypeVar("H", bound=Callable[..., Coroutine[Any, Any, Message]])


def query(method: H) -> H:
    """Mark `async def name(self, msg: SomeRequest, request: RequestContext) -> ItsReply` as the handler of its request.

    The annotations are checked when the class is made.
    """
    method.__handler__ = True  # type: ignore[attr-defined]
    return method


def _handlers(klass: type[Actor]) -> dict[type[Message], Handler]:
    table: dict[type[Message], Handler] = {}
    for name, method in inspect.getmembers(klass, inspect.isfunction):
        if not getattr(method, "__handler__", False):
            continue
        hints = typing.get_type_hints(method)
        returns = hints.pop("return", None)
        hints.pop("request", None)
        (asked,) = hints.values()
        if returns is not reply_type(asked):
            promised = reply_type(asked).__name__
            raise TypeError(f"{klass.__name__}.{name} returns {returns}, but {asked.__name__} promises {promised}")
        table[asked] = method
    return table


class Actor(Process):
    """See the module. Subclasses set `kind` and write handlers."""

    needs_broker = True
    handlers: ClassVar[dict[type[Message], Handler]] = {}
    unpaced: ClassVar[tuple[type[Message], ...]] = ()
    """Answers that may be as large and as many as a remote client asks for: those that have bounds of their own."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.handlers = _handlers(cls)

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self.port = Port(context, actor=self.kind, on_request=self._on_request)
        self.port.inputs = self.inputs
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._held: list[tuple[Envelope, bytes]] | None = []
        """Requests that came before the actor was ready for them; None since then."""
        self._turns: Turns[tuple[Envelope, bytes]] = Turns()
        self._next_turn: asyncio.Handle | None = None

    @classmethod
    def run_process(cls, base: Path, lane_socket: socket.socket | None) -> int:
        """Run this actor until told to stop; returns the exit status."""
        return run_process(cls, base, lane_socket)

    # --- for subclasses

    async def on_start(self) -> None:
        """Before the first request; the bus is connected."""

    async def on_stop(self) -> None:
        """After the last request; the bus is still connected."""

    def on_registered(self) -> None:
        """The actor is known on the bus under its name, and no request has been handled yet."""

    async def ask(
        self,
        to: str,
        request: Request[R],
        *,
        timeout_s: float,
        namespace: str = "",
        msg_id: str = "",
        cause: str = "",
    ) -> R:
        """Send a request and wait for its reply; inside a handler never longer than the handler itself has left.

        An unreachable or vanished receiver is asked again, with the same id, until time is up: it may be restarting.
        Raises BusError.
        """
        loop = asyncio.get_running_loop()
        current = _current.get()
        deadline = loop.time() + timeout_s
        if current is not None:
            deadline = min(deadline, current.deadline)
        namespace = namespace or (current.namespace if current else DEFAULT_NAMESPACE)
        cause = cause or (current.msg_id if current else "")
        msg_id = msg_id or os.urandom(8).hex()
        retry = Retry(deadline, absent_s=UNREACHABLE_S, pause_s=RETRY_PAUSE_S)
        while True:
            left = max(deadline - loop.time(), 0.001)
            try:
                return await self.port.ask(to, request, timeout_s=left, namespace=namespace, cause=cause, msg_id=msg_id)
            except errors.BusError as error:
                pause = retry.failed(error, loop.time())
            await asyncio.sleep(pause)

    def publish(self, topic: str, event: Event, *, namespace: str = DEFAULT_NAMESPACE, cause: str = "") -> None:
        """Publish an event after the change it tells of."""
        self.port.publish(topic, event, namespace=namespace, cause=cause)

    # --- life cycle

    async def start(self) -> None:
        """Connect, start, register: an actor that can be asked is ready."""
        self.log.publish = self._publish_log
        await self.port.open(publish=True)
        await self.on_start()
        await self.port.register(os.getpid())
        self.on_registered()
        held, self._held = self._held, None
        for envelope, body in held or ():
            self._on_request(envelope, body)
        self.spawn(self._send_stats(), name="stats")

    async def stop(self) -> None:
        """Take no more requests, finish those under way, leave the bus."""
        await self.port.leave()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), DRAIN_S)
        await self.on_stop()
        self.log.publish = None
        await self.port.close()

    def inbox(self) -> int:
        """Requests under way."""
        return self._under_way + len(self._turns)

    def counters(self) -> dict[str, int]:
        """What the actor counts itself, for its statistics; names of its own."""
        return {}

    def understood(self) -> list[str]:
        """Types of the requests that it answers."""
        classes: list[type[Message]] = [Ping, GetStatus, *self.handlers]
        return list(map(codec.tag_of, classes))

    def status(self) -> Status:
        """What GetStatus answers."""
        return Status(
            actor=self.kind,
            phase=self.phase.value,
            pid=os.getpid(),
            inbox=self.inbox(),
            seq=self.port.seq,
            epoch=self.port.epoch,
        )

    # --- requests

    def _on_request(self, envelope: Envelope, body: bytes) -> None:
        if self._held is not None:
            self._held.append((envelope, body))
        elif not (key := key_of(envelope.id)):
            self._begin(envelope, body)
        elif len(self._turns) >= MAX_INBOX:
            self._fail(envelope, errors.OverloadedError(f"{self.kind} has {MAX_INBOX} requests of remote clients"))
        else:
            self._turns.add(key, (envelope, body), asyncio.get_running_loop().time() + envelope.ttl_ms / 1000)
            self._arrange_turn()

    def _arrange_turn(self) -> None:
        if self._next_turn is None and len(self._turns):
            loop = asyncio.get_running_loop()
            self._next_turn = loop.call_later(self._turns.pause_s(loop.time()), self._take_turn)

    def _take_turn(self) -> None:
        """Begin one request; the next one in the next round of the loop, after what this one has led to."""
        self._next_turn = None
        found = self._turns.take(asyncio.get_running_loop().time())
        if found is not None:
            self._begin(*found)
        self._arrange_turn()

    def _begin(self, envelope: Envelope, body: bytes) -> None:
        self.inputs.received(envelope, body)
        try:
            request = codec.decode_body(body)
            self.log.debug("request", type=envelope.type, sender=envelope.sender, id=envelope.id)
            if self.inbox() - len(self._turns) >= MAX_INBOX:
                raise errors.OverloadedError(f"{self.kind} has {MAX_INBOX} requests under way")
            self.take(envelope, request)
        except errors.BusError as error:
            self._fail(envelope, error)
        except Exception as error:
            self.log.exception("request_failed", error, msg_id=envelope.id, type=envelope.type)
            self._fail(envelope, self._unexpected(envelope, error))

    def take(self, envelope: Envelope, request: Message) -> None:
        """Start on one decoded request; raises BusError if nobody here handles it."""
        match request:
            case Ping():
                self._reply(envelope, Ack())
            case GetStatus():
                self._reply(envelope, self.status())
            case Inspection():
                self._reply(envelope, self.inspect(request))
            case _ if (handler := self.handlers.get(type(request))) is not None:
                self.spawn(self._handle(handler, envelope, request), name=envelope.type)
            case _:
                raise errors.UnknownTypeError(f"{self.kind} does not understand {envelope.type}")

    async def _handle(self, handler: Handler, envelope: Envelope, request: Message) -> None:
        context = RequestContext(
            msg_id=envelope.id,
            sender=envelope.sender,
            namespace=envelope.namespace,
            deadline=asyncio.get_running_loop().time() + envelope.ttl_ms / 1000,
        )
        _current.set(context)
        logs.message_id.set(envelope.id)
        self._under_way += 1
        self._idle.clear()
        try:
            self._reply(envelope, await handler(self, request, context))
        except errors.BusError as error:
            self._fail(envelope, error)
        except Exception as error:
            self.log.exception("request_failed", error, type=envelope.type)
            self._fail(envelope, self._unexpected(envelope, error))
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _reply(self, envelope: Envelope, body: Message) -> None:
        self._answer(envelope.id, body, envelope.namespace)

    def _answer(self, msg_id: str, body: Message, namespace: str) -> None:
        self.inputs.answered(msg_id, body)
        size_bytes = self.port.reply(msg_id, body, namespace=namespace)
        if (key := key_of(msg_id)) and not isinstance(body, self.unpaced):
            self._turns.answered(key, size_bytes, asyncio.get_running_loop().time())

    def _fail(self, envelope: Envelope, error: errors.BusError) -> None:
        self._reply(envelope, errors.to_failure(error, f"{self.kind}@{self.context.host}"))

    def _unexpected(self, envelope: Envelope, error: Exception) -> errors.BusError:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return errors.UnavailableError(f"{self.kind} cannot do this now: {os.strerror(error.errno or 0).lower()}")
        return errors.InternalError(f"internal error in {self.kind}; its log has it under {envelope.id}")

    # --- what everybody may watch

    def _publish_log(self, level: str, event: str, fields: dict[str, Value]) -> None:
        self.publish(log_topic(self.context.host, self.kind, level), LogRecord(level=level, event=event, fields=fields))

    async def _send_stats(self) -> None:
        topic = stats_topic(self.context.host, self.kind)
        while True:
            await self.vitals.pause(STATS_INTERVAL_S)
            topics = self.port.take_topic_seqs()
            topics.pop(topic, None)
            counters = {**self.port.counters, **self.counters()}
            self.publish(topic, self.vitals.stats(seq=self.port.seq, topics=topics, counters=counters))
