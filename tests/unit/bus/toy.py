"""A step actor that counts, and a port without sockets: real journal, real loop, no other process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bus import codec, errors
from bus.actor.base import RequestContext, query
from bus.actor.step import Answered, Ask, AskFailed, Effect, Fail, Input, Publish, Received, Recovered, Reply
from bus.actor.step_actor import StepActor
from bus.logs.logs import Outlet
from bus.messages.base import Event, Message, Request
from bus.messages.control import Synced
from bus.messages.envelope import Envelope
from bus.messages.guest import GuestReports, StartGuests
from bus.messages.vm import GetVmNames, StartVms, VmNames, VmReport, VmResult
from bus.paths import context


class Tally(msgspec.Struct, kw_only=True):
    """How often each target was started."""

    counts: dict[str, int] = msgspec.field(default_factory=dict)
    ids: list[str] = msgspec.field(default_factory=list)
    waiting: dict[str, str] = msgspec.field(default_factory=dict)
    """Tag of an open ask to the request it is for."""
    recovered: int = 0


class Rang(Input, frozen=True, kw_only=True, omit_defaults=True, tag="toy.rang"):
    """What came of the effect `Ring`."""

    name: str


class Ring(Effect, frozen=True, kw_only=True):
    """An effect of the actor's own."""

    name: str


def report(name: str, count: int) -> VmReport:
    """The toy's answer."""
    return VmReport(results=(VmResult(name=name, vm_id=count),))


def step(tally: Tally, inp: Input) -> list[Effect]:
    """Counts; `ask …` asks another actor, `ring …` has an effect, `boom` breaks an invariant half way."""
    match inp:
        case Received(msg_id=msg_id, body=StartVms(target=target)):
            tally.counts[target] = tally.counts.get(target, 0) + 1
            tally.ids.append(inp.new_uuid())
            if target.startswith("boom"):
                raise ValueError("a broken invariant")
            if target.startswith("ask"):
                tag = f"start/{msg_id}"
                tally.waiting[tag] = msg_id
                return [Ask(tag=tag, to="container", body=StartGuests(vm_ids=(1,)), timeout_s=60.0, cause=msg_id)]
            answer = Reply(msg_id=msg_id, body=report(target, tally.counts[target]))
            return [Ring(name=target), answer] if target.startswith("ring") else [answer]
        case Answered(tag=tag, body=GuestReports(reports=reports)):
            return [Reply(msg_id=tally.waiting.pop(tag), body=report("asked", len(reports)))]
        case AskFailed(tag=tag, code=code, message=message):
            return [Fail(msg_id=tally.waiting.pop(tag), code=code, message=message)]
        case Rang(name=name):
            tally.counts[name] += 100
        case Recovered():
            tally.recovered += 1
            return [Publish(topic="toy/recovered/", event=Synced())]
        case _:
            pass
    return []


class LoopbackPort:
    """What an actor's port does, without a bus: keeps replies and events, hands asks to `on_ask`."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.seq = 0
        self.counters: dict[str, int] = {}
        self.replies: list[tuple[str, Message]] = []
        self.asked: list[tuple[str, str]] = []
        self.published: list[str] = []
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        """Of every ask."""

    async def open(self, *, publish: bool = False) -> None:
        """Nothing to connect."""

    async def register(self, pid: int) -> None:
        """Nobody to tell."""

    async def leave(self) -> None:
        """Nobody to tell."""

    async def close(self) -> None:
        """Nothing to close."""

    async def ask(self, to: str, request: Request[Any], *, msg_id: str, **_: object) -> Message:
        """Keeps the id; waits for `answer`."""
        self.asked.append((to, msg_id))
        return await asyncio.shield(self.answer)

    def reply(self, msg_id: str, body: Message, *, namespace: str = "") -> int:
        """Keeps it."""
        self.replies.append((msg_id, body))
        return len(codec.encode(body))

    def publish(self, topic: str, event: Event, **_: object) -> None:
        """Keeps the topic; logs and counters are left out."""
        if not topic.startswith(("log/", "stats/")):
            self.published.append(topic)

    def take_topic_seqs(self) -> dict[str, int]:
        """None."""
        return {}


class Toy(StepActor[Tally]):
    """See the module."""

    kind = "toy"
    state_type = Tally
    requests = (StartVms,)
    ring: Callable[[str], None] = staticmethod(lambda name: None)

    def initial_state(self) -> Tally:
        """Nothing counted."""
        return Tally()

    def step(self, state: Tally, inp: Input) -> list[Effect]:
        """See `step`."""
        return step(state, inp)

    async def carry_out(self, effect: Effect) -> None:
        """Ring, and say so."""
        assert isinstance(effect, Ring)
        await asyncio.sleep(0)
        self.ring(effect.name)
        self.feed(Rang(name=effect.name))

    @query
    async def names(self, msg: GetVmNames, request: RequestContext) -> VmNames:
        """The counts, as text."""
        if request.namespace == "broken":
            raise KeyError("a bug in a handler")
        if request.namespace == "denied":
            raise errors.DeniedError("not for you")
        return VmNames(uuids={name: str(count) for name, count in self.state.counts.items()})


class Running:
    """A toy on the loop of the test."""

    def __init__(self, base: Path) -> None:
        self.actor = Toy(context(base), None)
        self.actor.log.outlet = Outlet(fd=-1)
        self.port = LoopbackPort()
        self.actor.port._zmq.term()
        self.actor.port = self.port  # type: ignore[assignment]

    def request(self, target: str, msg_id: str, *, namespace: str = "exp1") -> None:
        """A request arrives."""
        self.deliver(StartVms(target=target), msg_id, namespace=namespace)

    def deliver(self, body: Message, msg_id: str, *, namespace: str = "exp1", ttl_ms: int = 1000) -> None:
        """Any message arrives."""
        envelope = Envelope(kind="request", id=msg_id, type=codec.tag_of(body), namespace=namespace, ttl_ms=ttl_ms)
        self.actor._on_request(envelope, codec.encode(body))

    async def reply_to(self, msg_id: str) -> Message:
        """Wait for the answer to this id; the last one if there are several."""
        await self.until(lambda: any(replied == msg_id for replied, _ in self.port.replies))
        return [body for replied, body in self.port.replies if replied == msg_id][-1]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(5):
            while not true():  # noqa: ASYNC110 - any condition, and nobody who could tell of it
                await asyncio.sleep(0)


@asynccontextmanager
async def running(base: Path, *, stop: bool = False) -> AsyncIterator[Running]:
    """A toy that has recovered; afterwards it is killed (nothing more is written), or stopped in good order."""
    toy = Running(base)
    await toy.actor.start()
    try:
        yield toy
        if stop:
            await toy.actor.stop()
    finally:
        tasks = tuple(toy.actor._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if toy.actor._store is not None:
            _close_as_a_kill_does(toy.actor)


def _close_as_a_kill_does(actor: Toy) -> None:
    store = actor._store
    assert store is not None
    store._dirty = False
    store.close()
