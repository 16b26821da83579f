"""Events for users: decoded, bounded, and every loss told in its place."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bus import codec
from bus.errors import ClosedError, DeniedError
from bus.library.events import STATS, Events, Lost, Received, Unknown
from bus.library.subscriptions import Delivery, Subscriptions
from bus.messages.base import Message
from bus.messages.control import Stats
from bus.messages.envelope import Envelope
from bus.messages.vm import GuestKind, VmStarted, VmState


class Joined:
    """Stands for the subscriptions of a connection; refuses some prefixes."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.listeners: list[Events] = []

    async def add(self, listener: Events, timeout_s: float) -> None:
        """Join."""
        if any(prefix in self.refused for prefix in listener.prefixes):
            raise DeniedError("no")
        self.listeners.append(listener)

    def remove(self, listener: Events) -> None:
        """Leave."""
        self.listeners.remove(listener)


def make(*prefixes: str, capacity: int = 10, joined: Joined | None = None) -> Events:
    return Events(cast(Subscriptions, joined or Joined()), prefixes or ("vm/",), capacity, set())


def started(number: int) -> VmStarted:
    return VmStarted(vm_id=number, name="a", uuid="u", kind=GuestKind.CONTAINER, state=VmState.RUNNING)


def delivery(topic: str, number: int, message: Message | None = None, **more: Any) -> Delivery:
    message = message or started(number)
    head = {"kind": "event", "id": "1", "type": codec.tag_of(message), "epoch": "e", "topic_seq": number, **more}
    return Delivery(topic, codec.decode_envelope(codec.encode(Envelope(**head))), codec.encode(message))


def stats(**topics: int) -> Delivery:
    told = {topic.replace("_", "/"): last for topic, last in topics.items()}
    return delivery("stats/n1/vm/", 1, Stats(actor="vm", topics=told))


async def drained(events: Events) -> list[object]:
    """Numbers of the events that wait, and losses, in their order."""
    found: list[object] = []
    while (item := await events.next(0.001)) is not None:
        found.append(item.envelope.topic_seq if isinstance(item, Received) else item)
    return found


async def test_an_event_is_decoded_and_says_where_it_comes_from() -> None:
    events = make()
    events.offer(delivery("vm/exp1/a/started/", 1, namespace="exp1", sender="vm@n1"))
    item = await events.next()
    assert isinstance(item, Received)
    assert (item.topic, item.namespace, item.envelope.sender) == ("vm/exp1/a/started/", "exp1", "vm@n1")
    assert item.message == started(1)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"\x82\xa4type\xa7new.one\xa1x\x01", {"type": "new.one", "x": 1}),
        (b"\x93\x01\x02\x03", {}),
        (b"\xc1", {}),
        (b"\x82\xa4type\xaavm.started\xa4name\x07", {"type": "vm.started", "name": 7}),
    ],
)
async def test_what_is_no_message_of_this_version_is_shown_as_far_as_it_can_be_read(
    body: bytes, fields: dict[str, Any]
) -> None:
    events = make()
    events.offer(delivery("vm/a/", 1)._replace(body=body))
    item = await events.next()
    assert isinstance(item, Received)
    assert item.message == Unknown("vm.started", fields)


async def test_a_jump_in_the_numbers_is_a_loss_told_before_what_follows_it() -> None:
    events = make()
    for number in (4, 5, 9):
        events.offer(delivery("vm/a/", number))
    assert await drained(events) == [4, 5, Lost("vm/a/", 3, "network"), 9]
    assert events.lost == 3


async def test_the_end_of_a_topic_shows_by_the_statistics_which_are_no_events_of_the_user() -> None:
    events = make("vm/", "pipe/")
    for one in (delivery("vm/a/", 1), stats(vm_a_=1), stats(vm_a_=3, net_b_=8), stats(pipe_c_=1)):
        events.offer(one)
    assert await drained(events) == [1, Lost("vm/a/", 2, "network"), Lost("pipe/c/", 1, "network")]


async def test_statistics_can_be_events_of_the_user_too() -> None:
    events = make("")
    events.offer(stats())
    item = await events.next()
    assert isinstance(item, Received)
    assert isinstance(item.message, Stats)


async def test_a_full_queue_drops_and_tells_in_one_piece() -> None:
    events = make(capacity=4)
    for number in range(1, 11):
        events.offer(delivery("vm/a/", number))
    await events.next()
    events.offer(delivery("vm/a/", 11))  # more of it must have been taken before there is room again
    await events.next()
    events.offer(delivery("vm/a/", 12))
    assert await drained(events) == [3, 4, Lost("vm/a/", 7, "slow"), 12]
    assert events.lost == 7


@pytest.mark.parametrize(("other", "told"), [("vm/a/", "vm/a/"), ("vm/b/", "vm/")])
async def test_what_was_dropped_last_is_told_once_all_else_was_taken(other: str, told: str) -> None:
    events = make(capacity=1)
    for topic, number in (("vm/a/", 1), ("vm/a/", 2), (other, 3)):
        events.offer(delivery(topic, number))
    assert await drained(events) == [1, Lost(told, 2, "slow")]


async def test_an_interruption_is_told_even_if_the_queue_is_full() -> None:
    events = make("vm/", "pipe/", capacity=1)
    for number in (1, 2):
        events.offer(delivery("vm/a/", number))
    events.interrupted()
    assert await drained(events) == [1, Lost("vm/a/", 1, "slow"), Lost("", 0, "interrupted")]


async def test_who_may_not_watch_any_longer_gets_what_there_is_and_then_the_reason() -> None:
    events = make()
    events.offer(delivery("vm/a/", 1))
    events.failed(DeniedError("revoked"))
    assert isinstance(await events.next(), Received)
    for _ in range(2):
        with pytest.raises(DeniedError, match="revoked"):
            await events.next()


async def test_who_may_not_watch_statistics_joins_without() -> None:
    joined = Joined(STATS)
    async with make("vm/", joined=joined) as events:
        assert events.prefixes == ("vm/",)
    assert joined.listeners == []
    with pytest.raises(DeniedError):
        async with make("vm/", joined=Joined(STATS, "vm/")):
            pass


async def test_who_waits_when_it_is_closed_is_told_and_nobody_can_go_on() -> None:
    events = await make().__aenter__()
    waiting = asyncio.get_running_loop().create_task(events.next())
    await asyncio.sleep(0)
    events.close()
    events.close()
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        await events.next(0.0)
    with pytest.raises(ClosedError):
        await events.__aenter__()


async def test_who_stops_waiting_loses_nothing() -> None:
    events = make()
    waiting = asyncio.get_running_loop().create_task(events.next())
    await asyncio.sleep(0)
    waiting.cancel()
    assert await events.next(0.0) is None
    events.offer(delivery("vm/a/", 1))
    assert await drained(events) == [1]
