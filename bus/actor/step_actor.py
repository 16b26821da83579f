"""An actor whose state survives every crash: journal, pure step, effects."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections import deque
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from bus import codec, errors
from bus.actor.base import Actor
from bus.actor.inputs import CAPACITY
from bus.actor.memory import Memory
from bus.actor.step import Answered, Ask, AskFailed, Effect, Fail, Input, Publish, Received, Recovered, Reply
from bus.actor.store import Store
from bus.logs import logs
from bus.messages.base import DEFAULT_NAMESPACE, Failure, Message, Request
from bus.messages.control import Status
from bus.messages.envelope import Envelope
from bus.node.lifecycle import EXIT_BUG
from bus.paths import Context

SYNC_INTERVAL_S = 0.1
REPAIR_INTERVAL_S = 1.0
REPLAY_S = 3.0
"""Steps that took so long since the last snapshot are not left to a replay: whoever starts must be ready in time."""

S = TypeVar("S", bound=msgspec.Struct)


def boot_s() -> float:
    """Seconds since the host was booted, times of sleep included; nobody can set this clock (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _subclasses(klass: type[Input]) -> list[type[Input]]:
    return [klass, *(found for child in klass.__subclasses__() for found in _subclasses(child))]


class StepActor(Actor, Generic[S]):
    """See the module. Subclasses set `state_type`, write `initial_state`, `step`, and `carry_out` for their effects."""

    state_type: ClassVar[type[msgspec.Struct]]
    requests: ClassVar[tuple[type[Request[Any]], ...]] = ()
    """Those that `step` understands."""

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self.state: S = self.initial_state()
        self.memory = Memory()
        self._store: Store | None = None
        self._origin = f"{self.kind}@{context.host}"
        self._queue: deque[tuple[Effect, str]] = deque()
        """Effects, and what led to each."""
        self._carrying = False
        self._behind = False
        """The state holds an input that could not be journaled; only a snapshot makes it durable again."""
        self._worked_s = 0.0
        """Time that steps took since the last snapshot."""

    # --- for subclasses

    def initial_state(self) -> S:
        """The state of an actor that has never run."""
        raise TypeError(f"{type(self).__name__} does not say what its first state is")

    def step(self, state: S, inp: Input) -> list[Effect]:
        """The pure core; changes `state` in place."""
        raise TypeError(f"{type(self).__name__} has no step")

    async def carry_out(self, effect: Effect) -> None:
        """Do an effect of this actor's own; effects are carried out one after the other, in order."""
        raise TypeError(f"{self.kind} cannot carry out {type(effect).__name__}")

    def outgoing(self, msg_id: str, body: Message) -> Message:
        """What is sent for a `Reply`: a subclass may have more to say now than is worth keeping for a repeat."""
        return body

    def feed(self, inp: Input) -> None:
        """Give the actor an input of its own making (what came of an effect); it is stamped, journaled and stepped."""
        if self._store is None:
            return  # this process is ending; its successor finds out by itself
        stamped = msgspec.structs.replace(inp, time_s=time.time(), boot_s=boot_s(), seed=secrets.randbits(63))
        try:
            self._journal(self._store, stamped)
        except OSError as error:
            # It has happened whether or not it can be written down: go on, and heal with a snapshot.
            self.log.error("journal_failed", error=str(error))
            self._behind = True
        if not isinstance(inp, Answered | AskFailed):  # those are known as the ends of asks
            self.inputs.reported(str(inp.__struct_config__.tag))
        self._apply(stamped)

    # --- start: recover, then let the actor reconcile

    async def start(self) -> None:
        """Recover from the journal, connect, reconcile."""
        try:
            self._store = Store(self.context.paths.state / self.kind)
            self._recover(self._store)
        except OSError as error:
            where = self.context.paths.state / self.kind
            raise errors.UnavailableError(f"cannot read the state in {where}: {error}") from error
        await super().start()
        with contextlib.suppress(OSError):  # the next turn of _sync_often tells
            self._store.sync()  # here, not in a thread: an idle actor then never starts one, which spares a megabyte
        self.spawn(self._sync_often(), name="sync")

    def on_registered(self) -> None:
        """Reconcile, then ask again what was still open."""
        reopened = list(self.memory.open_asks.values())
        self.feed(Recovered())
        for ask in reopened:
            self._send_ask(ask)

    async def stop(self) -> None:
        """Write a snapshot and leave."""
        await super().stop()
        if self._store is not None:
            self._snapshot(self._store)
            self._store.close()
            self._store = None

    def inbox(self) -> int:
        """Requests under way."""
        return super().inbox() + len(self.memory.open_requests)

    def understood(self) -> list[str]:
        """With those of `step`."""
        return [*super().understood(), *map(codec.tag_of, self.requests)]

    def status(self) -> Status:
        """With the asks still open."""
        return msgspec.structs.replace(super().status(), asks=len(self.memory.open_asks))

    def _recover(self, store: Store) -> None:
        begun_s = time.monotonic()
        snapshot, records = store.read()
        voided = {record["void"] for record in records if "void" in record}
        while (broken := self._replay(snapshot, records, voided)) is not None:
            # The process was killed between this input and its being voided.
            voided.add(broken)
            store.append({"void": broken})
        self._worked_s = time.monotonic() - begun_s if records else 0.0
        self._recall(records)
        open_asks = len(self.memory.open_asks)
        self.log.info("recovered", records=len(records), snapshot=snapshot is not None, open_asks=open_asks)

    def _replay(self, snapshot: bytes | None, records: list[dict[str, Any]], voided: set[int]) -> int | None:
        """Make the state anew; returns the number of the input that breaks `step`, if one does."""
        self.state, self.memory = self.initial_state(), Memory()
        if snapshot is not None:
            self._restore(snapshot)
        for record in records:
            if "input" not in record:
                continue
            inp = self._input_from(record["input"])
            if record["n"] in voided:
                self._skip(inp)
                continue
            try:
                self._account(inp)
                self.memory.note(self.step(self.state, inp), inp.time_s, self._origin)
            except Exception as error:
                self.log.exception("replay_failed", error, input=type(inp).__name__, number=record["n"])
                return int(record["n"])
        return None

    def _recall(self, records: list[dict[str, Any]]) -> None:
        """Put the last requests of before this start where questions about inputs are answered from."""
        for record in records[-CAPACITY:]:
            value = record.get("input", {})
            if value.get("type") != "received":
                continue
            kept = self.memory.replies.get(value["msg_id"])
            envelope = Envelope(
                kind="request",
                id=value["msg_id"],
                type=str(value["body"].get("type")),
                cause=value.get("cause", ""),
                sender=value.get("sender", ""),
                namespace=value.get("namespace", DEFAULT_NAMESPACE),
                time=value.get("time_s", 0.0),
            )
            self.inputs.restored(envelope, kept.body if kept else None, kept.time_s if kept else 0.0)

    def _restore(self, snapshot: bytes) -> None:
        try:
            content = msgspec.msgpack.decode(snapshot)
            self.state = msgspec.convert(content["state"], self.state_type, strict=False)  # type: ignore[assignment]
            self.memory = Memory.from_builtins(content["memory"])
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise errors.UnavailableError(f"the snapshot of {self.kind} is not of this version: {error}") from error

    def _skip(self, inp: Input) -> None:
        """Replay an input that broke an invariant: its ask is closed, its request failed, the state untouched."""
        self._account(inp)
        if isinstance(inp, Received):
            message = f"internal error in {self.kind}; nothing was done"
            self.memory.note([Fail(msg_id=inp.msg_id, code="internal", message=message)], inp.time_s, self._origin)

    def _input_from(self, value: dict[str, Any]) -> Input:
        fields = dict(value)
        try:
            klass = {str(found.__struct_config__.tag): found for found in _subclasses(Input)}[fields["type"]]
            body = fields.pop("body", None)
            if body is None:
                return msgspec.convert(fields, klass)
            del fields["type"]
            return klass(**fields, body=codec.from_builtins(body))  # type: ignore[call-arg]  # only classes with a body get here
        except (msgspec.MsgspecError, KeyError, TypeError, errors.BusError) as error:
            raise errors.UnavailableError(f"the journal of {self.kind} is not of this version: {error}") from error

    # --- inputs

    def take(self, envelope: Envelope, request: Message) -> None:
        """Requests that change something go through the journal; the others have handlers, or nobody knows them."""
        if not isinstance(request, self.requests):
            super().take(envelope, request)
            return
        if self._store is None:
            raise errors.UnreachableError(f"{self.kind} is ending")
        if (kept := self.memory.replies.get(envelope.id)) is not None:
            self._answer(envelope.id, kept.body, kept.namespace)
            return
        if envelope.id in self.memory.open_requests:
            return  # a repeat: the broker routes the one answer to whoever asked last
        inp = Received(
            msg_id=envelope.id,
            body=request,
            sender=envelope.sender,
            namespace=envelope.namespace,
            cause=envelope.cause,
            time_s=time.time(),
            boot_s=boot_s(),
            seed=secrets.randbits(63),
        )
        try:
            self._journal(self._store, inp)
        except OSError as error:
            raise errors.UnavailableError(f"cannot record the request: {error.strerror or error}") from error
        self._apply(inp)

    def _journal(self, store: Store, inp: Input) -> None:
        if self._behind:
            store.snapshot(self._encode())
            self._behind = False
        store.append({"input": codec.to_builtins(inp)}, durable=self.context.durable)

    def _account(self, inp: Input) -> None:
        match inp:
            case Received(msg_id=msg_id, namespace=namespace):
                self.memory.taken(msg_id, namespace)
            case Answered(tag=tag) | AskFailed(tag=tag):
                self.memory.closed(tag)
            case _:
                pass

    def _apply(self, inp: Input) -> None:
        cause = self._cause_of(inp)
        token = logs.message_id.set(cause)
        try:
            self._take_step(inp, cause)
        finally:
            logs.message_id.reset(token)

    def _cause_of(self, inp: Input) -> str:
        """Id of the request that led to it, as far as that is known."""
        match inp:
            case Received(msg_id=msg_id):
                return msg_id
            case Answered(tag=tag) | AskFailed(tag=tag) if (ask := self.memory.open_asks.get(tag)) is not None:
                return ask.cause
            case _:
                return logs.message_id.get()

    def _take_step(self, inp: Input, cause: str) -> None:
        begun_s = time.monotonic()
        try:
            self._account(inp)
            effects = self.step(self.state, inp)
            self.memory.note(effects, inp.time_s, self._origin)
            self._worked_s += time.monotonic() - begun_s
        except Exception as error:
            self.log.exception("step_failed", error, input=type(inp).__name__)
            self.lane.last_words(f"its step failed on {type(inp).__name__}: {type(error).__name__}: {error}")
            self._give_up()
            return
        self._queue.extend((effect, cause) for effect in effects)
        self._run_effects()

    def _give_up(self) -> None:
        """The state may be half changed: void the last input, and come back from the journal without it."""
        self._queue.clear()
        store, self._store = self._store, None
        if store is not None:
            # An input that could not be journaled needs no voiding; one that cannot be voided now breaks the replay.
            if not self._behind:
                with contextlib.suppress(OSError):
                    store.append({"void": store.last})
            store.close()
        self.begin_stop(EXIT_BUG)

    # --- effects

    def _run_effects(self) -> None:
        while self._queue and not self._carrying:
            effect, cause = self._queue.popleft()
            logs.message_id.set(cause)
            match effect:
                case Reply(msg_id=msg_id, body=body):
                    self._send_reply(msg_id, self.outgoing(msg_id, body))
                case Fail(msg_id=msg_id, code=code, message=message):
                    self._send_reply(msg_id, Failure(code=code, message=message, origin=self._origin))
                case Publish(topic=topic, event=event, namespace=namespace):
                    self.publish(topic, event, namespace=namespace, cause=effect.cause or cause)
                case Ask():
                    self._send_ask(effect)
                case _:
                    self._carrying = True
                    self.spawn(self._carry_out(effect), name=type(effect).__name__)

    async def _carry_out(self, effect: Effect) -> None:
        try:
            await self.carry_out(effect)
        except Exception as error:
            self.log.exception("effect_failed", error, effect=type(effect).__name__)
        self._carrying = False  # not when cancelled: what comes after it must not happen without it
        self._run_effects()

    def _send_reply(self, msg_id: str, body: Message) -> None:
        kept = self.memory.replies.get(msg_id)
        self._answer(msg_id, body, kept.namespace if kept else "")

    def _send_ask(self, ask: Ask) -> None:
        self.spawn(self._ask(ask), name=f"ask {ask.tag}")

    async def _ask(self, ask: Ask) -> None:
        msg_id = f"{self._origin}/{ask.tag}"
        try:
            reply = await self.ask(
                ask.to, ask.body, timeout_s=ask.timeout_s, namespace=ask.namespace, msg_id=msg_id, cause=ask.cause
            )
        except errors.BusError as error:
            self.feed(AskFailed(tag=ask.tag, code=error.code, message=str(error)))
            return
        self.feed(Answered(tag=ask.tag, body=reply))

    # --- durability

    def _encode(self) -> bytes:
        return msgspec.msgpack.encode({"state": self.state, "memory": self.memory.to_builtins()})

    def _snapshot(self, store: Store) -> None:
        try:
            self.memory.expire(time.time())
            store.snapshot(self._encode())
            self._behind, self._worked_s = False, 0.0
        except OSError as error:
            self.log.error("snapshot_failed", error=str(error))

    async def _sync_often(self) -> None:
        repair_at = time.monotonic()
        while (store := self._store) is not None:
            await asyncio.sleep(SYNC_INTERVAL_S)
            if self._store is not store:
                return
            if store.wants_snapshot or self._worked_s > REPLAY_S or (self._behind and time.monotonic() >= repair_at):
                repair_at = time.monotonic() + REPAIR_INTERVAL_S
                self._snapshot(store)
            if store.dirty:
                try:
                    await asyncio.to_thread(store.sync)
                except (OSError, ValueError) as error:
                    self.log.error("sync_failed", error=str(error))
