"""Abuse of the ports that the gateway opens, by strangers and by those who have a key: who notices, what grows.

While each goes on, an authorised client over TCP and a local one ask all the time, and a newcomer comes in. They
must be answered, soon; no event may be lost; gateway and broker must stay small.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bus.access.keys import Role
from bus.client import connect
from bus.errors import BusError
from bus.messages.control import Ping
from bus.messages.pipe import DeletePipes, GetPipes, WritePipe
from bus.messages.vm import StartVms
from bus.port import Port
from bus.remote import Remote
from bus.settings.listen_address import Endpoint
from tests.integration.gateway_host import GatewayHost, client, gateway_host
from tests.integration.processes import until
from tests.system.gateway_abuser import READERS
from tests.system.gateway_witness import ASK_S, MIB, PAUSE_S, SOON_S, Seen, abuser, noticed

pytestmark = pytest.mark.system
LARGE = 4 * MIB
PUBLISHED = 480 * MIB
KEPT_MIB = 400.0
ABUSE_S = 1.2
MANY = 30
"""Far fewer than there are of each kind: a busy machine leaves the abuser little time."""


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


async def abused(host: GatewayHost, kind: str, remote: Remote, for_s: float = ABUSE_S) -> Seen:
    """Let one abuser go on for a while; what others noticed."""
    file = host.key_file(remote)
    async with noticed(host) as seen:
        async with abuser(kind, file) as counted:
            seen.began_s = time.monotonic()
            await asyncio.sleep(for_s)
            seen.took_s = time.monotonic() - seen.began_s
            async with client(await host.make()) as newcomer:
                await newcomer.ask("vm", Ping(), timeout_s=ASK_S)
        seen.count = counted
    await no_more_than(seen.gateway.open_now, seen.gateway.descriptors + 4)
    return seen


async def no_more_than(value: Callable[[], int], most: int) -> None:
    """Wait until all is closed that was opened."""

    async def closed() -> bool:
        return value() <= most

    await until(closed)


@pytest.mark.parametrize("kind", ["silent", "halves", "announced", "garbage", "strangers"])
async def test_strangers(host: GatewayHost, kind: str) -> None:
    seen = await abused(host, kind, await host.make(Role.TAP))
    seen.check()
    assert seen.count["opened"] > MANY, seen.count
    assert not seen.count.get("let_in")


async def test_a_stolen_key_that_was_revoked(host: GatewayHost) -> None:
    stolen = await host.make()
    async with client(stolen) as thief:
        await thief.ask("vm", Ping(), timeout_s=ASK_S)
        await host.revoke(stolen)
        with pytest.raises(BusError):
            await thief.ask("vm", Ping(), timeout_s=ASK_S)
    seen = await abused(host, "known", stolen)
    seen.check()
    assert seen.count["refused"] > MANY, seen.count
    assert not seen.count["let_in"]


async def test_a_good_key_that_comes_and_goes(host: GatewayHost) -> None:
    seen = await abused(host, "known", await host.make(Role.TAP))
    seen.check()
    assert seen.count["let_in"] > MANY, seen.count


async def test_a_tap_that_wants_to_see_everything(host: GatewayHost) -> None:
    tap = await host.make(Role.TAP, namespaces=("exp1",))

    async def secrets() -> None:
        async with connect(host.base) as port:
            while True:
                await port.ask("vm", StartVms(target="1"), timeout_s=ASK_S, namespace="secret")
                await asyncio.sleep(PAUSE_S)

    told = asyncio.create_task(secrets())
    seen = await abused(host, "nosy", tap)
    told.cancel()
    with suppress(asyncio.CancelledError):
        await told
    seen.check()
    assert seen.count["asked"] > MANY, seen.count
    assert not seen.count["seen"]


async def test_a_hoarder_of_subscriptions(host: GatewayHost) -> None:
    seen = await abused(host, "hoarder", await host.make())
    seen.check()
    assert seen.count["asked"] > MANY, seen.count


async def test_requests_that_are_refused_at_speed(host: GatewayHost) -> None:
    tap = await host.make(Role.TAP)
    before = await started_in(host, "secret")
    seen = await abused(host, "requests", tap)
    seen.check()
    assert seen.count["answered"] > MANY, seen.count
    assert await started_in(host, "secret") == before + 1


async def test_messages_that_are_too_large(host: GatewayHost) -> None:
    seen = await abused(host, "giants", await host.make())
    seen.check()
    assert seen.count["sent"] > 2, seen.count


async def test_a_client_that_asks_all_the_time(host: GatewayHost) -> None:
    """It may; but each client has its turn."""
    seen = await abused(host, "busy", await host.make(namespaces=("exp1",)))
    seen.check(broker_share=1.0)
    assert seen.count["answered"] > MANY, seen.count


async def test_a_subscriber_that_does_not_read(host: GatewayHost) -> None:
    """Others go on reading the same; the gateway keeps some of what it cannot send, then it cuts it off."""
    slow, good = await host.make(Role.TAP, namespaces=("exp1",)), await host.make(Role.TAP, namespaces=("exp1",))
    lines = bytes(LARGE - 1) + b"\n"
    async with client(good) as reader, connect(host.base) as writer, noticed(host) as seen:
        events = await reader.subscribe("pipe/exp1/")
        async with abuser("deaf", host.key_file(slow)) as seen.count:
            seen.began_s = time.monotonic()
            for _ in range(PUBLISHED // LARGE):
                await writer.ask("plumber", WritePipe(pipe="p", data=lines), timeout_s=ASK_S, namespace="exp1")
                assert len((await asyncio.wait_for(events.next(), ASK_S)).body) > LARGE
            seen.took_s = time.monotonic() - seen.began_s
    seen.check(gateway_mib=KEPT_MIB, broker_mib=16 * LARGE / MIB)
    assert '"it does not read what it asked for, and memory is short"' in host.said("gateway")


async def test_a_client_that_does_not_read_its_answers(host: GatewayHost) -> None:
    """It is many readers of a pipe, and what was written for them is large: half a gibibyte in an instant."""
    mute = await host.make(namespaces=("exp2",))
    async with connect(host.base) as writer, noticed(host) as seen:
        async with abuser("mute", host.key_file(mute)) as seen.count:
            await until_read(writer, READERS)
            seen.began_s = time.monotonic()
            lines = bytes(LARGE - 1) + b"\n"
            await writer.ask("plumber", WritePipe(pipe="p", data=lines, waits=False), timeout_s=ASK_S, namespace="exp2")
            await until_said(host, "connection_cut", "it does not read what it asked for, and memory is short")
            seen.took_s = time.monotonic() - seen.began_s
        await writer.ask("plumber", DeletePipes(pipe="p"), timeout_s=ASK_S, namespace="exp2")
    seen.check(gateway_mib=KEPT_MIB, broker_mib=READERS * LARGE / MIB, broker_share=2.0, soon_s=4 * SOON_S)


async def until_read(port: Port, readers: int) -> None:
    """Wait until the pipe has so many readers."""

    async def attached() -> bool:
        pipes = (await port.ask("plumber", GetPipes(), timeout_s=ASK_S, namespace="exp2")).pipes
        return [one.readers for one in pipes] == [readers]

    await until(attached)


async def until_said(host: GatewayHost, *words: str) -> None:
    """Wait until a line of the gateway's log has all of them."""
    before = host.said("gateway")

    async def said() -> bool:
        lines = host.said("gateway")[len(before) :].splitlines()
        return any(all(word in line for word in words) for line in lines)

    await until(said)


async def test_what_was_recorded_on_the_way_is_of_no_use(host: GatewayHost) -> None:
    """Somebody between a client and the gateway says all again that the client said."""
    alice, spy = await host.make(namespaces=("exp1",)), Spy(host.endpoint.port)
    server = await asyncio.start_server(spy.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, client(Remote(Endpoint("127.0.0.1", port), alice.keys)) as victim:
        report = await victim.ask("vm", StartVms(target="1"), timeout_s=ASK_S, namespace="exp1")
    assert spy.said
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", host.endpoint.port)
        writer.write(spy.said)
        heard = await asyncio.wait_for(reader.read(), ASK_S)  # the gateway hangs up
        assert len(heard) < 1_000
        writer.close()
    assert await started_in(host, "exp1") == report.results[0].vm_id + 1
    async with client(
        await host.make(namespaces=("exp1",))
    ) as other:  # the same id under another key is another request
        again = await other.ask("vm", StartVms(target="1"), timeout_s=ASK_S, namespace="exp1", msg_id="1")
        assert again.results[0].vm_id == report.results[0].vm_id + 2


class Spy:
    """Passes a connection on and notes what the client says."""

    def __init__(self, port: int) -> None:
        self.said = b""
        self._port = port

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, to_there = await asyncio.open_connection("127.0.0.1", self._port)

        async def back() -> None:
            while data := await there.read(65_536):
                writer.write(data)
            writer.close()

        answering = asyncio.create_task(back())
        while data := await reader.read(65_536):
            self.said += data
            to_there.write(data)
        to_there.close()
        await answering


async def started_in(host: GatewayHost, namespace: str) -> int:
    """How often the toy was told to start a VM there; this is once more."""
    async with connect(host.base) as port:
        report = await port.ask("vm", StartVms(target="1"), timeout_s=ASK_S, namespace=namespace)
    return report.results[0].vm_id
