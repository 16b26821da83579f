"""Requests of clients with keys, over real TCP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import msgpack
import pytest
import zmq

from bus.access.key_files import new_pair, now_s
from bus.access.keys import Role
from bus.client import connect
from bus.errors import BusError, CancelledError, DeniedError, UnreachableError
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.base import Ack, Message, Request
from bus.messages.control import GetAddresses, GetStatus, Goodbye, Hello, Lookup, Ping, Stats
from bus.messages.debug import GetStacks
from bus.messages.gateway import GetRights, Rights
from bus.messages.pipe import DeletePipes, GetPipes, ReadPipe, WritePipe
from bus.messages.vm import GetVmNames, TopVms, VmUsages
from bus.paths import host_name
from bus.port import Port
from bus.remote import Remote, arm
from bus.topics import stats_topic
from tests.integration.gateway_host import GatewayHost, client, gateway_host
from tests.integration.processes import until
from tests.system.patience import FACTOR

PATIENCE_S = 10.0 * FACTOR
PATIENCE_MS = int(1000 * PATIENCE_S)


@pytest.fixture(scope="module")
def started() -> Iterator[GatewayHost]:
    """The processes."""
    with gateway_host() as host:
        yield host


@pytest.fixture
async def host(started: GatewayHost) -> GatewayHost:
    """A host that serves."""
    await started.serves()
    return started


@pytest.fixture
async def boss(host: GatewayHost) -> AsyncIterator[Port]:
    """A client that may do everything."""
    async with client(await host.make()) as port:
        yield port


async def refusal(port: Port, to: str, request: Request[Message], namespace: str = "exp1") -> str:
    """The sentence with which a request is denied."""
    with pytest.raises(DeniedError) as caught:
        await port.ask(to, request, timeout_s=PATIENCE_S, namespace=namespace)
    return str(caught.value)


async def test_a_request_arrives_under_the_name_of_its_key(host: GatewayHost) -> None:
    remote = await host.make(name="alice")
    async with client(remote) as alice:
        asked = await alice.ask("vm", GetVmNames(), timeout_s=PATIENCE_S, namespace="exp1")
        assert (asked.uuids["sender"], asked.uuids["namespace"]) == ("key:alice", "exp1")
        rights = await alice.ask("gateway", GetRights(), timeout_s=PATIENCE_S)
        assert rights == Rights(name="alice", role="control", topics=("",), host=host_name())
        assert "vm" in (await alice.ask("broker", GetAddresses(), timeout_s=PATIENCE_S)).actors
        with pytest.raises(UnreachableError, match="no actor `nobody`"):
            await alice.ask("nobody", Ping(), timeout_s=PATIENCE_S)


async def test_each_key_may_what_it_is_for(host: GatewayHost) -> None:
    tap, limited = await host.make(Role.TAP), await host.make(namespaces=("exp1",))
    async with client(tap) as eye, client(limited) as lim:
        assert await eye.ask("vm", Ping(), timeout_s=PATIENCE_S) == Ack()
        assert "may only watch" in await refusal(eye, "vm", GetVmNames())
        assert (await lim.ask("vm", GetVmNames(), timeout_s=PATIENCE_S, namespace="exp1")).uuids["namespace"] == "exp1"
        assert "not for the namespace `exp2`: only exp1" in await refusal(lim, "vm", GetVmNames(), "exp2")
        for to, request in (("broker", GetAddresses()), ("broker", Lookup(address="vm")), ("vm", GetStacks())):
            assert "beyond namespaces" in await refusal(lim, to, request)


async def test_nobody_becomes_an_actor_over_tcp(host: GatewayHost, boss: Port) -> None:
    for request in (Hello(actor="vm", epoch="e", pid=1, token="x" * 32), Goodbye()):
        assert "only processes of minibus say it" in await refusal(boss, "broker", request)
    assert await boss.ask("vm", Ping(), timeout_s=PATIENCE_S) == Ack()


async def test_the_same_id_of_two_keys_is_two_requests(host: GatewayHost, boss: Port) -> None:
    async with client(await host.make(name="thief")) as thief:
        slow = asyncio.create_task(boss.ask("vm", TopVms(window_s=0.3), timeout_s=PATIENCE_S, msg_id="same"))
        own = await thief.ask("vm", GetVmNames(), timeout_s=PATIENCE_S, msg_id="same")
        assert own.uuids["sender"] == "key:thief"
        assert await slow == VmUsages(usages=())


async def test_what_is_judged_is_what_is_done(host: GatewayHost) -> None:
    """Neither the envelope's word nor a body that can be read in two ways gets more than the key may."""
    with raw(await host.make(Role.TAP)) as sock:
        double = b"\x82\xa4type" + msgpack.packb("control.ping") + b"\xa4type" + msgpack.packb("control.addresses.get")
        swapped = b"\x82\xa4type" + msgpack.packb("control.addresses.get") + b"\xa4type" + msgpack.packb("control.ping")
        for body in (msgpack.packb({"type": "control.addresses.get"}), double, swapped):
            envelope = {"v": 1, "kind": "request", "id": "1", "to": "broker", "ttl_ms": 5000, "type": "control.ping"}
            sock.send_multipart([msgpack.packb(envelope), body])
            head, answer = await received(sock)
            assert head["id"] == "1"
            assert answer in ({"type": "ack"}, answer | {"type": "failure"})
            assert "actors" not in answer


async def test_who_talks_nonsense_is_cut_and_nobody_else_notices(host: GatewayHost, boss: Port) -> None:
    remote = await host.make(Role.TAP)
    for frames in ([b"x"], [b"x"] * 5, [b"x" * 100_000, b"y"]):
        with raw(remote) as sock:
            sock.send_multipart(frames)
            assert await event(sock)
    with raw(remote) as sock:
        sock.send_multipart([msgpack.packb({"v": 9, "kind": "request", "id": "7"}), b""])
        head, answer = await received(sock)
        assert (head["id"], answer["code"]) == ("7", "malformed")
    assert await boss.ask("vm", Ping(), timeout_s=PATIENCE_S) == Ack()


@pytest.mark.parametrize("armed", [False, True])
async def test_without_a_key_nothing_is_answered(host: GatewayHost, armed: bool) -> None:
    pair = new_pair()
    stranger = host.remote("stranger", pair.public, pair.secret)
    if armed:
        with pytest.raises(DeniedError, match="refuses the key stranger: it is unknown there"):
            async with client(stranger):
                pass
        assert '"client_refused"' in host.said("gateway")
        assert pair.public in host.said("gateway")
        assert pair.secret not in host.said("gateway")
    else:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        plain = context.socket(zmq.DEALER)
        plain.setsockopt(zmq.LINGER, 0)
        plain.connect(stranger.requests)
        plain.send_multipart([b"a", b"b"])
        assert not await asyncio.to_thread(plain.poll, 300)
        plain.close()
        context.term()


async def test_why_one_does_not_get_in(host: GatewayHost) -> None:
    good = await host.make()
    wrong = host.remote(good.name, good.keys.public, good.keys.secret, server=new_pair().public)
    with pytest.raises(UnreachableError, match="it has another server key"):
        async with client(wrong):
            pass
    with pytest.raises(UnreachableError, match="nobody listens at"):
        async with client(Remote(host.endpoint._replace(port=1), good.keys)):
            pass


async def gone(port: Port) -> BusError:
    """Ask until it fails for good; gives how."""

    async def denied() -> bool:
        try:
            await port.ask("vm", Ping(), timeout_s=PATIENCE_S)
        except DeniedError as error:
            found.append(error)
        except (UnreachableError, CancelledError):
            pass
        return bool(found)

    found: list[BusError] = []
    await until(denied)
    return found[0]


async def test_a_revoked_key_is_cut_off_and_the_others_go_on(host: GatewayHost, boss: Port) -> None:
    remote = await host.make(name="mallory")
    async with client(remote) as port, client(remote) as other:
        events = await port.subscribe("stats/")
        await asyncio.wait_for(events.next(), PATIENCE_S)
        bystander = await boss.subscribe("stats/")
        waiting = asyncio.create_task(other.ask("vm", TopVms(window_s=60.0), timeout_s=60.0))
        await port.ask("vm", Ping(), timeout_s=PATIENCE_S)
        await host.revoke(remote)
        started_s = time.monotonic()
        with pytest.raises((CancelledError, DeniedError)):
            await waiting
        assert "refuses the key mallory" in str(await gone(port))
        assert time.monotonic() - started_s < 20.0
        with pytest.raises(DeniedError):
            while True:  # what was on its way comes first
                await asyncio.wait_for(events.next(), PATIENCE_S)
        with pytest.raises(DeniedError):
            async with client(remote):
                pass
        assert await boss.ask("vm", Ping(), timeout_s=PATIENCE_S) == Ack()
        await asyncio.wait_for(bystander.next(), PATIENCE_S)
    assert host.said("gateway").count('"reason": "its key is revoked"') == 3


async def test_a_key_that_expires_while_it_is_used_is_cut_off(host: GatewayHost) -> None:
    ends_s = now_s() + 2.0
    async with client(await host.make(expires_s=ends_s)) as port:
        assert (await port.ask("gateway", GetRights(), timeout_s=PATIENCE_S)).expires_s == ends_s
        assert "refuses the key" in str(await gone(port))
    assert ends_s <= time.time() < ends_s + 10.0


async def test_a_change_of_the_file_is_noticed_without_being_told(host: GatewayHost) -> None:
    remote = await host.make()
    async with client(remote) as port:
        await port.ask("vm", Ping(), timeout_s=PATIENCE_S)
        host.store.change(lambda ring: ring.revoked(remote.name, 1.0))
        await gone(port)


async def test_a_file_that_is_broken_changes_nothing(host: GatewayHost, boss: Port) -> None:
    before = host.store.clients.read_text()
    host.store.clients.write_text("[broken")
    await host.reload()
    host.store.clients.write_text(before)
    assert await boss.ask("vm", Ping(), timeout_s=PATIENCE_S) == Ack()
    assert '"keys_not_read"' in host.said("gateway")
    await host.reload()


async def write_lines(port: Port, count: int) -> None:
    """Numbers, one a line; returns when the readers have them."""
    async with PipeWriter(port, "foo", namespace="exp1") as writer:
        for number in range(count):
            await writer.write(b"%d\n" % number)


async def test_pipes_over_tcp_lose_nothing(host: GatewayHost, boss: Port) -> None:
    tap = await host.make(Role.TAP, topics=("pipe/exp1/foo/",))
    async with client(tap) as eye:
        lines = b""
        async with PipeReader(eye, "foo", namespace="exp1") as reader:
            writing = asyncio.create_task(write_lines(boss, 200))
            async with asyncio.timeout(PATIENCE_S):
                while lines.count(b"\n") < 200:
                    delivery = await reader.next()
                    assert delivery is not None
                    lines += delivery.data
        await asyncio.wait_for(writing, PATIENCE_S)
        assert lines.split() == [b"%d" % number for number in range(200)]
        assert "may not read the pipe `bar`" in await refusal(eye, "plumber", ReadPipe(pipe="bar", reader="r"))
        assert "may only watch" in await refusal(eye, "plumber", WritePipe(pipe="foo", data=b"x\n"))


async def test_a_message_without_end_costs_its_sender_the_connection() -> None:
    """A machine that is quick fills the memory before the gateway looks: then it ends, and another takes its place."""
    with gateway_host(memory_mib=100) as small:
        await small.serves()
        async with client(await small.make()) as port:

            async def answers() -> bool:
                small.revive()
                with suppress(BusError):
                    return await port.ask("vm", Ping(), timeout_s=1.0) == Ack()
                return False

            with raw(await small.make(Role.TAP)) as sock:
                for _ in range(400):
                    sock.sock.send(bytes(1024 * 1024), zmq.SNDMORE)
                sock.sock.send(b"")
                assert await event(sock)
            await until(answers, 20.0)
            said = small.said("gateway")
            assert '"it sent most, and memory is short"' in said or '"gateway_memory"' in said


async def test_the_gateway_counts(host: GatewayHost, boss: Port) -> None:
    async with connect(host.base) as local:
        events = await local.subscribe(stats_topic(host_name(), "gateway"))
        event = await asyncio.wait_for(events.next(), PATIENCE_S)
        counters = msgpack.unpackb(event.body)["counters"]
        assert await local.ask("gateway", GetStatus(), timeout_s=PATIENCE_S)
    assert Stats.__struct_config__.tag == msgpack.unpackb(event.body)["type"]
    assert counters["connections"] >= 1
    assert counters["accepted"] >= 1
    assert {"refused", "cut", "denied", "requests", "events", "malformed"} <= set(counters)


# --- clients without our library


class Raw:
    """A bare DEALER with a key."""

    def __init__(self, remote: Remote) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sock = self._context.socket(zmq.DEALER)
        self.sock.setsockopt(zmq.LINGER, 0)
        arm(self.sock, remote)
        self.monitor = self.sock.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.sock.connect(remote.requests)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *error: object) -> None:
        self.monitor.close(linger=0)
        self.sock.close()
        self._context.term()

    def send_multipart(self, frames: list[bytes]) -> None:
        """Send."""
        self.sock.send_multipart(frames)


def raw(remote: Remote) -> Raw:
    """A bare DEALER with a key."""
    return Raw(remote)


async def received(sock: Raw) -> tuple[dict[str, object], dict[str, object]]:
    """The next answer: envelope and body."""
    assert await asyncio.to_thread(sock.sock.poll, PATIENCE_MS)
    head, body = sock.sock.recv_multipart()
    return msgpack.unpackb(head), msgpack.unpackb(body)


async def event(sock: Raw) -> bool:
    """Wait for the end of the connection."""
    return bool(await asyncio.to_thread(sock.monitor.poll, PATIENCE_MS))


async def test_one_that_asks_for_long_lists_all_the_time_holds_up_nobody(host: GatewayHost) -> None:
    """Its requests have their turn one by one, with everybody else's in between."""
    pipes, lists, pings = 1_500, 100, 10
    async with client(await host.make(namespaces=("heavy",))) as greedy, connect(host.base) as near:

        async def fill(start: int) -> None:
            for number in range(start, pipes, 10):
                write = WritePipe(pipe=f"p{number}", data=b"", waits=False)
                await greedy.ask("plumber", write, timeout_s=PATIENCE_S, namespace="heavy")

        await asyncio.gather(*map(fill, range(10)))
        asked = [
            asyncio.create_task(greedy.ask("plumber", GetPipes(), timeout_s=60.0, namespace="heavy"))
            for _ in range(lists)
        ]
        assert len((await asked[0]).pipes) == pipes
        for _ in range(pings):
            await near.ask("plumber", Ping(), timeout_s=PATIENCE_S)
        assert sum(one.done() for one in asked) < lists / 2
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await near.ask("plumber", DeletePipes(), timeout_s=PATIENCE_S, namespace="heavy")
