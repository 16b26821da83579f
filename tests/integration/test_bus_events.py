"""Events through a real broker: joining, losing, noticing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgpack
import pytest
import zmq

from bus import codec, errors
from bus.client import connect
from bus.messages.base import Ack
from bus.messages.control import CountReaders, LogRecord, Stats, TopicCount
from bus.messages.vm import ClearVmTags, FlushVms, StartVms, TagVms, VmReport, VmStarted
from bus.paths import host_name
from bus.port import Delivery, Port, Subscription
from bus.topics import log_topic, stats_topic
from tests.integration.processes import Processes, broker_serves, kill, serves, toys, until

STARTED = "vm/exp1/web/started/"


@pytest.fixture
def bus(base_dir: Path) -> Iterator[Processes]:
    """A broker and a toy `vm`, starting."""
    with toys(base_dir) as processes:
        processes.start("broker")
        processes.start("vm")
        yield processes


@pytest.fixture
async def client(bus: Processes) -> AsyncIterator[Port]:
    """A connection, once `vm` serves."""
    await broker_serves(bus.base)
    async with connect(bus.base) as port:
        await serves(port, "vm")
        yield port


def last_number(report: VmReport) -> int:
    """The topic_seq of the last event that the toy published."""
    return report.results[0].vm_id


async def announce(client: Port, count: int = 1) -> int:
    """Have the toy publish; returns the last number."""
    report = await client.ask("vm", StartVms(target=str(count)), timeout_s=20.0, namespace="exp1")
    return last_number(report)


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """The next so many events."""
    async with asyncio.timeout(20):
        return [await subscription.next() for _ in range(count)]


async def readers(client: Port, topic: str) -> TopicCount:
    """Who listens."""
    return await client.ask("broker", CountReaders(topic=topic), timeout_s=5.0)


async def test_an_event_says_who_published_what_and_which_number_it_has(client: Port) -> None:
    events = await client.subscribe("vm/")
    await announce(client, 2)
    first, second = await take(events, 2)
    assert first.topic == STARTED
    head = first.envelope
    assert (head.kind, head.type, head.namespace) == ("event", "vm.started", "exp1")
    assert (head.sender, head.host) == (f"vm@{host_name()}", host_name())
    assert [event.envelope.topic_seq for event in (first, second)] == [1, 2]
    assert second.envelope.seq > head.seq
    assert first.envelope.epoch == second.envelope.epoch
    assert len({first.envelope.id, second.envelope.id}) == 2
    assert isinstance(codec.decode_body(first.body), VmStarted)


async def test_nothing_published_after_subscribing_is_missed(client: Port, bus: Processes) -> None:
    await client.ask("vm", TagVms(target="all", key="k", value="v"), timeout_s=5.0)
    for _ in range(20):
        async with connect(bus.base) as late:
            events = await late.subscribe("vm/exp1/")
            expected = await announce(client)
            (event,) = await take(events, 1)
            assert event.envelope.topic_seq == expected


async def test_whoever_joins_a_storm_gets_it_without_a_gap(client: Port) -> None:
    await client.ask("vm", TagVms(target="all", key="k", value="v"), timeout_s=5.0)
    events = await client.subscribe("vm/storm/", capacity=1_000_000)
    numbers = [event.envelope.topic_seq for event in await take(events, 2_000)]
    last = last_number(await client.ask("vm", ClearVmTags(), timeout_s=20.0))
    while numbers[-1] < last:
        numbers += [event.envelope.topic_seq for event in await take(events, 1)]
    assert events.lost == 0
    assert numbers == list(range(numbers[0], last + 1))


async def test_subscriptions_of_one_client_are_apart(client: Port) -> None:
    everything, other = await client.subscribe(""), await client.subscribe("vm/exp2/")
    web = await client.subscribe("vm/exp1/web/")
    await announce(client)
    (event,) = await take(web, 1)
    assert event.topic == STARTED
    web.close()
    web.close()
    await announce(client)
    seen = []
    async with asyncio.timeout(10):
        async for delivery in everything:
            seen += [delivery.envelope.topic_seq] if delivery.topic == STARTED else []
            if len(seen) == 2:
                break
    assert seen == [1, 2]
    for closed in (web, other):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(closed.next(), 0.01)


async def test_what_a_slow_reader_does_not_take_is_counted(client: Port) -> None:
    few = await client.subscribe("vm/", capacity=5)
    many = await client.subscribe("vm/")
    await announce(client, 50)
    await take(many, 50)
    assert few.lost == 45
    assert [event.envelope.topic_seq for event in await take(few, 5)] == [1, 2, 3, 4, 5]


async def test_a_loss_inside_zeromq_shows_as_a_jump_and_the_lost_tail_in_stats(base_dir: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with toys(base_dir) as processes:
        processes.start("broker", "--hwm", "100")
        processes.start("vm")
        await broker_serves(base_dir)
        async with connect(base_dir) as client:
            await serves(client, "vm")
            stats = await client.subscribe(stats_topic(host_name(), "vm"))
            slow = context.socket(zmq.SUB)
            slow.setsockopt(zmq.RCVHWM, 10)
            slow.setsockopt(zmq.RCVTIMEO, 500)
            slow.setsockopt(zmq.LINGER, 0)
            slow.connect(f"ipc://{base_dir}/bus/events")
            slow.setsockopt(zmq.SUBSCRIBE, b"vm/")

            async def joined() -> bool:
                return (await readers(client, "vm/")).exact == 1

            await until(joined)
            last = 0
            for _ in range(20):  # all of it is more than the buffers of the kernel hold
                last = await announce(client, 1_000)
            told = 0
            while told < last:
                (event,) = await take(stats, 1)
                body = codec.decode_body(event.body)
                assert isinstance(body, Stats)
                told = body.topics.get(STARTED, told)
            numbers = []
            while True:
                try:
                    numbers.append(msgpack.unpackb(slow.recv_multipart()[1])["topic_seq"])
                except zmq.Again:
                    break
    slow.close()
    context.term()
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers))
    assert len(numbers) < told == last == 20_000


async def test_stats_repeat_the_last_number_of_each_topic_in_use(client: Port) -> None:
    stats = await client.subscribe(stats_topic(host_name(), "vm"))
    await announce(client, 3)
    body = Stats(actor="vm")
    while STARTED not in body.topics:
        (delivery,) = await take(stats, 1)
        found = codec.decode_body(delivery.body)
        assert isinstance(found, Stats)
        body = found
        assert body.seq == delivery.envelope.seq - 1
    assert body.topics == {STARTED: 3}
    assert body.counters["published"] >= 3
    (following,) = await take(stats, 1)
    assert following.envelope.topic_seq == delivery.envelope.topic_seq + 1


async def test_log_records_are_on_the_bus_too(client: Port, bus: Processes) -> None:
    bus.start("container")
    await serves(client, "container")
    logs = await client.subscribe(log_topic(host_name(), "container", "info"))
    await client.ask("vm", FlushVms(), timeout_s=10.0, namespace="exp1", msg_id="asked-by-me")
    (event,) = await take(logs, 1)
    record = codec.decode_body(event.body)
    assert isinstance(record, LogRecord)
    assert (record.event, record.level) == ("asked", "info")
    assert record.fields["namespace"] == "exp1"
    assert record.fields["sender"] == f"vm@{host_name()}"


async def test_readers_are_counted_whether_they_leave_or_are_killed(client: Port, bus: Processes) -> None:
    subscribers = [bus.start("subscriber", "--prefix", prefix) for prefix in ("vm/exp1/", "vm/exp1/", "vm/", "net/")]
    for one in subscribers:
        assert one.stdout is not None
        assert await asyncio.to_thread(one.stdout.readline) == b"subscribed\n"
    assert await readers(client, "vm/exp1/") == TopicCount(exact=2, covering=3)
    assert await readers(client, STARTED) == TopicCount(exact=0, covering=3)
    kill(subscribers[0])

    async def left(topic: str, count: TopicCount) -> bool:
        return await readers(client, topic) == count

    await until(lambda: left("vm/exp1/", TopicCount(exact=1, covering=2)))
    own = await client.subscribe("vm/exp1/")
    assert await readers(client, "vm/exp1/") == TopicCount(exact=2, covering=3)
    own.close()
    await until(lambda: left("vm/exp1/", TopicCount(exact=1, covering=2)))
    assert await readers(client, "sync/") == TopicCount(exact=0, covering=0)


async def test_subscriptions_outlive_the_broker_and_the_gap_shows(client: Port, bus: Processes) -> None:
    events = await client.subscribe("vm/exp1/")
    assert await announce(client) == 1
    await take(events, 1)
    kill(bus.started[0])
    bus.start("broker")
    await serves(client, "broker")
    await serves(client, "vm")

    heard: list[int] = []

    async def hears() -> bool:
        await announce(client)
        with contextlib.suppress(TimeoutError):
            heard.append((await asyncio.wait_for(events.next(), 0.05)).envelope.topic_seq)
        return bool(heard)

    await until(hears)
    assert heard[0] > 1


async def test_without_a_broker_subscribing_fails_and_leaves_no_subscription(client: Port, bus: Processes) -> None:
    kill(bus.started[0])
    with pytest.raises(errors.UnreachableError):
        await client.subscribe("vm/", timeout_s=0.1)
    bus.start("broker")
    await client.subscribe("net/", timeout_s=10.0)
    assert await readers(client, "vm/") == TopicCount(exact=0, covering=0)


async def test_what_is_not_a_topic_is_not_forwarded(client: Port, bus: Processes) -> None:
    everything = await client.subscribe("")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.LINGER, 0)
    publisher.setsockopt(zmq.RCVTIMEO, 10_000)
    publisher.connect(f"ipc://{bus.base}/bus/publish")
    assert publisher.recv() == b"\x01"
    head, body = codec.encode((await take(everything, 1))[0].envelope), codec.encode(Ack())
    for topic in (b"vm/x", b"sync/00ff/", b"x" * 1024 + b"/", b""):
        publisher.send_multipart([topic, head, body])
    publisher.send_multipart([b"two/", head])
    publisher.send_multipart([b"last/", head, body])
    topics = []
    while "last/" not in topics:
        topics += [event.topic for event in await take(everything, 1)]
    publisher.close()
    context.term()
    assert not [topic for topic in topics if not topic.startswith(("stats/", "log/", "last/"))]
