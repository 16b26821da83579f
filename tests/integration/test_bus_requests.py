"""Requests through a real broker between real processes, some of which die."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack
import pytest
import zmq

from bus import codec, errors
from bus.client import CONNECT_S, connect
from bus.messages.base import Ack
from bus.messages.control import CountReaders, GetActors, GetStatus, Goodbye, Hello, Lookup, Ping, Stats
from bus.messages.vm import FlushVms, GetVmNames, GetVms, KillVms, StartVms, StopVms, TopVms, VmReport, VmUsages
from bus.paths import host_name
from bus.port import Port
from tests.integration.processes import Processes, Toy, broker_serves, kill, serves, toys, until


class Bus(NamedTuple):
    """A broker and a toy `vm`, starting."""

    toys: Processes
    broker: Toy
    vm: Toy

    @property
    def base(self) -> Path:
        """Their base directory."""
        return self.toys.base


@pytest.fixture
def bus(base_dir: Path) -> Iterator[Bus]:
    """Ends with the test."""
    with toys(base_dir) as processes:
        yield Bus(processes, processes.start("broker"), processes.start("vm"))


@pytest.fixture
async def client(bus: Bus) -> AsyncIterator[Port]:
    """A connection, once `vm` serves."""
    await broker_serves(bus.base)
    async with connect(bus.base) as port:
        await serves(port, "vm")
        yield port


async def test_what_no_message_can_hold_is_said_at_once_and_disturbs_nobody(client: Port) -> None:
    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(client.ask("vm", TopVms(window_s=1.0), timeout_s=20.0))
        with pytest.raises(errors.UnavailableError, match=r"^the answer has \d+ bytes, at most \d+ are allowed"):
            await client.ask("vm", GetVms(target="too much"), timeout_s=20.0)
        with pytest.raises(errors.InvalidError, match=r"^a request of \d+ bytes cannot be sent"):
            await client.ask("vm", GetVms(target="x" * codec.MAX_BODY), timeout_s=20.0)
    assert other.result() == VmUsages(usages=())


async def test_a_request_is_answered_and_the_broker_says_who_asked(client: Port) -> None:
    names = (await client.ask(f"vm@{host_name()}", GetVmNames(), timeout_s=5.0, namespace="exp1")).uuids
    assert names["namespace"] == "exp1"
    assert names["sender"].startswith("peer-")
    assert names["sender"].endswith(f"@{host_name()}")


async def test_failures_come_back_as_the_exception_they_were(client: Port) -> None:
    with pytest.raises(errors.NotFoundError, match=r"^vm not found: ghost$") as caught:
        await client.ask("vm", GetVms(target="ghost"), timeout_s=5.0)
    assert (caught.value.origin, caught.value.detail) == (f"vm@{host_name()}", {"target": "ghost"})
    with pytest.raises(errors.InternalError, match=r"^internal error in vm; its log has it under "):
        await client.ask("vm", GetVms(target="bug"), timeout_s=5.0)
    with pytest.raises(errors.UnknownTypeError):
        await client.ask("vm", GetActors(), timeout_s=5.0)


async def test_nobody_at_the_address_is_said_at_once(client: Port) -> None:
    took = []
    for to in ("nobody", "vm@elsewhere", f"nobody@{host_name()}"):
        started = time.monotonic()
        with pytest.raises(errors.UnreachableError):
            await client.ask(to, Ping(), timeout_s=5.0)
        took.append(time.monotonic() - started)
    assert min(took) < 1.0


async def test_the_deadline_holds_and_the_late_answer_is_counted(client: Port) -> None:
    started = time.monotonic()
    with pytest.raises(errors.DeadlineError, match="outcome is unknown"):
        await client.ask("vm", TopVms(window_s=0.5), timeout_s=0.2)
    assert time.monotonic() - started >= 0.2

    async def late() -> bool:
        return client.counters["late_replies"] == 1

    await until(late)


async def test_a_receiver_killed_before_it_answers_means_outcome_unknown(client: Port, bus: Bus) -> None:
    started = time.monotonic()
    with pytest.raises(errors.CancelledError, match=rf"^vm@{host_name()} went away before it answered"):
        await client.ask("vm", KillVms(target="all"), timeout_s=30.0)
    assert time.monotonic() - started < 10.0
    with pytest.raises(errors.UnreachableError):
        await client.ask("vm", Ping(), timeout_s=5.0)
    assert not (await client.ask("broker", Lookup(address="vm"), timeout_s=5.0)).present
    bus.vm.wait()


async def test_a_killed_receiver_that_owes_nothing_is_noticed_by_the_next_request(client: Port, bus: Bus) -> None:
    assert (await client.ask("broker", Lookup(address=f"vm@{host_name()}"), timeout_s=5.0)).present
    kill(bus.vm)

    async def unreachable() -> bool:
        return not (await client.ask("broker", Lookup(address="vm"), timeout_s=5.0)).present

    await until(unreachable)
    with pytest.raises(errors.UnreachableError):
        await client.ask("vm", Ping(), timeout_s=5.0)


async def test_a_broker_killed_under_way_fails_asks_at_once_and_actors_come_back_by_themselves(
    client: Port, bus: Bus
) -> None:
    pid = (await client.ask("vm", GetVmNames(), timeout_s=5.0)).uuids["pid"]
    waiting = asyncio.ensure_future(client.ask("vm", TopVms(window_s=30.0), timeout_s=60.0))

    async def in_flight() -> bool:
        return (await client.ask("broker", GetStatus(), timeout_s=5.0)).inbox == 1

    await until(in_flight)
    started = time.monotonic()
    kill(bus.broker)
    with pytest.raises(errors.CancelledError, match="the broker went away"):
        await waiting
    assert time.monotonic() - started < 10.0
    bus.toys.start("broker")
    await serves(client, "broker")
    assert await serves(client, "vm") < 5.0
    assert (await client.ask("vm", GetVmNames(), timeout_s=5.0)).uuids["pid"] == pid


async def test_a_nested_ask_waits_for_an_actor_that_is_being_restarted(client: Port, bus: Bus) -> None:
    asked = asyncio.ensure_future(client.ask("vm", FlushVms(), timeout_s=20.0))
    bus.toys.start("container")
    assert (await asked).results == ()


async def test_a_nested_ask_lasts_no_longer_than_its_cause(client: Port) -> None:
    with pytest.raises(errors.BusError) as caught:
        await client.ask("vm", FlushVms(), timeout_s=0.3)
    assert isinstance(caught.value, errors.DeadlineError | errors.UnreachableError)

    async def idle() -> bool:
        return (await client.ask("vm", GetStatus(), timeout_s=5.0)).inbox == 0

    assert await until(idle) < 2.0


async def test_an_actor_told_to_end_answers_what_it_has_and_takes_nothing_more(client: Port, bus: Bus) -> None:
    waiting = asyncio.ensure_future(client.ask("vm", TopVms(window_s=0.7), timeout_s=20.0))

    async def busy() -> bool:
        return (await client.ask("vm", GetStatus(), timeout_s=5.0)).inbox == 1

    await until(busy)
    bus.vm.terminate()

    async def gone() -> bool:
        return not (await client.ask("broker", Lookup(address="vm"), timeout_s=5.0)).present

    await until(gone)
    assert not waiting.done()
    with pytest.raises(errors.UnreachableError):
        await client.ask("vm", Ping(), timeout_s=5.0)
    assert await waiting == VmUsages(usages=())
    assert bus.vm.wait(5) == 0


async def test_a_full_queue_is_said_at_once(base_dir: Path) -> None:
    with toys(base_dir) as processes:
        processes.start("broker", "--hwm", "10")
        vm = processes.start("vm", "--hwm", "10")
        await broker_serves(base_dir)
        async with connect(base_dir) as client:
            await serves(client, "vm")
            vm.send_signal(signal.SIGSTOP)
            waiting, refused = await until_refused(client)
            assert {type(error) for error in refused} == {errors.OverloadedError}
            kill(vm)
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {type(ask.exception()) for ask in done} == {errors.CancelledError}
        await asyncio.gather(*waiting, return_exceptions=True)


async def until_refused(client: Port) -> tuple[set[asyncio.Future[VmReport]], list[BaseException | None]]:
    """Ask and ask until some are refused; returns the asks that wait, and why the others do not."""
    waiting: set[asyncio.Future[VmReport]] = set()
    async with asyncio.timeout(20):
        while True:
            ask = client.ask("vm", StartVms(target="x" * 10_000), timeout_s=60.0)
            waiting.add(asyncio.ensure_future(ask))
            done, waiting = await asyncio.wait(waiting, timeout=0.005)
            if done:
                return waiting, [ask.exception() for ask in done]


async def test_a_busy_receiver_is_not_taken_for_a_dead_one(client: Port) -> None:
    assert (await client.ask("vm", StopVms(target="1.0"), timeout_s=10.0)).errors == ()


async def test_closing_fails_what_is_still_open(client: Port, bus: Bus) -> None:
    async with connect(bus.base) as port:
        waiting = asyncio.ensure_future(port.ask("vm", TopVms(window_s=30.0), timeout_s=60.0))
        await port.ask("broker", Ping(), timeout_s=5.0)
    with pytest.raises(errors.CancelledError, match="this connection was closed"):
        await waiting
    with pytest.raises(errors.UnreachableError):
        await port.ask("vm", Ping(), timeout_s=1.0)


# --- what any client may send


@pytest.fixture
def raw(bus: Bus) -> Iterator[zmq.Socket[bytes]]:
    """A plain DEALER."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(zmq.DEALER)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.RCVTIMEO, 10_000)
    sock.connect(f"ipc://{bus.base}/bus/requests")
    yield sock
    sock.close()
    context.term()


PING = msgpack.packb({"type": "control.ping"})


def envelope(**fields: object) -> bytes:
    """A request to the broker, with some fields changed."""
    packed: bytes = msgpack.packb({"v": 1, "kind": "request", "id": "m1", "to": "broker", "ttl_ms": 1000, **fields})
    return packed


@pytest.mark.parametrize(
    ("head", "body", "code"),
    [
        (envelope(v=2), PING, "malformed"),
        (envelope(kind="request", to=7), PING, "malformed"),
        (envelope(), b"\xc1", "malformed"),
        (envelope(), msgpack.packb({"type": "no.such"}), "unknown_type"),
        (envelope(), msgpack.packb({"type": "vm.list.get"}), "unknown_type"),
        (envelope(to="vm", ttl_ms=0), PING, "invalid"),
        (envelope(to="vm", id=""), PING, "invalid"),
        (envelope(to="no vm"), PING, "invalid"),
        (envelope(), msgpack.packb({"type": "control.hello", "actor": "a b", "epoch": "e", "pid": 1}), "invalid"),
        (envelope(), msgpack.packb({"type": "control.hello", "actor": "broker", "epoch": "e", "pid": 1}), "invalid"),
        (envelope(), msgpack.packb({"type": "control.hello", "actor": "vm", "epoch": "e", "pid": 1}), "denied"),
        (envelope(to="node"), msgpack.packb({"type": "log.settings.get"}), "unavailable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_whatever_is_wrong_with_a_request_its_asker_is_told(
    raw: zmq.Socket[bytes], head: bytes, body: bytes, code: str
) -> None:
    raw.send_multipart([head, body])
    answer_head, answer_body = raw.recv_multipart()
    assert msgpack.unpackb(answer_head)["kind"] == "failure"
    failure = msgpack.unpackb(answer_body)
    assert (failure["type"], failure["code"]) == ("failure", code)
    assert failure["message"]
    assert "\n" not in failure["message"]


def test_nonsense_is_survived_and_counted(raw: zmq.Socket[bytes], bus: Bus) -> None:
    for frames in (
        [b""],
        [b"a", b"b", b"c"],
        [b"\xc1", b""],
        [b"\x81\xa4kind\xa2\x80\x80", b""],
        [envelope(kind="event"), PING],
    ):
        raw.send_multipart(frames)
    raw.send_multipart([envelope(kind="reply", id="nobody-asked"), PING])
    raw.send_multipart([envelope(id="last"), PING])
    assert msgpack.unpackb(raw.recv_multipart()[0])["id"] == "last"


async def test_nobody_answers_for_another(client: Port, raw: zmq.Socket[bytes]) -> None:
    waiting = asyncio.ensure_future(client.ask("vm", TopVms(window_s=0.3), timeout_s=20.0, msg_id="known"))
    await client.ask("broker", Ping(), timeout_s=5.0)
    raw.send_multipart([envelope(kind="reply", id="known"), msgpack.packb({"type": "ack"})])
    assert await waiting == VmUsages(usages=())


async def test_goodbye_takes_a_name_away(client: Port, bus: Bus) -> None:
    token = (bus.base / "run" / "token").read_text()
    await client.ask("broker", Hello(actor="guest", epoch="e", pid=os.getpid(), token=token), timeout_s=5.0)
    assert (await client.ask("broker", Lookup(address="guest"), timeout_s=5.0)).present
    assert await client.ask("broker", Goodbye(), timeout_s=5.0) == Ack()
    assert not (await client.ask("broker", Lookup(address="guest"), timeout_s=5.0)).present


@pytest.mark.parametrize("token", ["", "0" * 64, "ä" * 64])
async def test_who_does_not_know_the_token_is_no_actor(client: Port, bus: Bus, token: str) -> None:
    for name in ("vm", "guest"):
        with pytest.raises(errors.DeniedError, match="denied: an actor shows with `token`"):
            await client.ask("broker", Hello(actor=name, epoch="e", pid=1, token=token), timeout_s=5.0)
    assert not (await client.ask("broker", Lookup(address="guest"), timeout_s=5.0)).present
    names = await client.ask("vm", GetVmNames(), timeout_s=5.0)
    assert names.uuids["pid"] == str(bus.vm.pid)


async def test_the_token_is_for_root_alone_and_outlives_the_broker(client: Port, bus: Bus) -> None:
    file = bus.base / "run" / "token"
    before = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kill(bus.broker)
    bus.toys.start("broker")
    await serves(client, "vm")
    assert file.read_text() == before


# --- the place


async def test_the_endpoints_are_for_their_owner_alone(client: Port, bus: Bus) -> None:
    directory = bus.base / "bus"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(path.name for path in directory.iterdir()) == ["events", "publish", "requests"]


async def test_a_second_broker_on_the_same_base_is_refused_and_the_first_goes_on(client: Port, bus: Bus) -> None:
    second = bus.toys.start("broker")
    assert second.wait(10) == 1
    assert f"broker is already running on {bus.base} (pid {bus.broker.pid})" in bus.toys.said("broker")
    assert "Traceback" not in bus.toys.said("broker")
    assert await client.ask("vm", Ping(), timeout_s=5.0) == Ack()


async def test_where_nothing_runs_a_client_is_told_at_once(base_dir: Path) -> None:
    started = time.monotonic()
    with pytest.raises(errors.UnreachableError, match="minibus is not running on"):
        async with connect(base_dir):
            pass
    with toys(base_dir) as processes:
        broker = processes.start("broker")
        await broker_serves(base_dir)
        kill(broker)
        started = time.monotonic()
        with pytest.raises(errors.UnreachableError, match="minibus is not running on"):
            async with connect(base_dir):
                pass
    assert time.monotonic() - started < CONNECT_S * 0.8


async def test_an_actor_by_hand_waits_for_the_broker(base_dir: Path) -> None:
    async def waits() -> bool:
        return "waits_for_broker" in processes.said("vm")

    with toys(base_dir) as processes:
        vm = processes.start("vm")
        await until(waits)
        vm.terminate()
        assert vm.wait(10) == 0
        processes.start("vm")
        processes.start("broker")
        await broker_serves(base_dir)
        async with connect(base_dir) as client:
            await serves(client, "vm")
            rows = (await client.ask("node", GetActors(), timeout_s=10.0)).actors
        assert [(row.actor, row.state, row.reason) for row in rows] == [
            ("broker", "running", "not started by a node"),
            ("vm", "running", "not started by a node"),
        ]
        assert all(row.pss_mib > 0 for row in rows)


async def test_counts_are_told(client: Port) -> None:
    stats = await client.subscribe("stats/")
    delivery = await stats.next()
    assert delivery.envelope.type == "control.stats"
    assert (await client.ask("broker", CountReaders(topic="stats/"), timeout_s=5.0)).exact == 1
    assert Stats(actor="x").topics == {}
