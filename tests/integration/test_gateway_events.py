"""Events for clients with keys, over real TCP; and the gateway and the broker dying under them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import zmq

from bus.access.key_files import ClientFile, Pair, new_pair
from bus.access.keys import Key, Role, Verdict
from bus.errors import BusError, DeniedError
from bus.gateway.connections import Connections
from bus.gateway.doors import Doors, GatewaySockets
from bus.messages.vm import StartVms
from bus.port import Delivery, Port, Subscription
from bus.pump import Origin
from bus.remote import Remote, arm
from bus.settings.listen_address import Endpoint
from tests.integration.gateway_host import GatewayHost, client, gateway_host
from tests.integration.processes import until
from tests.ports import LOOPBACK, free_port
from tests.system.patience import FACTOR

PATIENCE_S = 10.0 * FACTOR
STARTED = "vm/exp1/web/started/"


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


async def announce(port: Port, namespace: str = "exp1") -> int:
    """Have the toy publish one event; gives its number."""
    report = await port.ask("vm", StartVms(target="1"), timeout_s=PATIENCE_S, namespace=namespace)
    return report.results[0].vm_id


async def take(events: Subscription) -> Delivery:
    """The next event."""
    return await asyncio.wait_for(events.next(), PATIENCE_S)


async def test_nothing_published_after_joining_is_missed(host: GatewayHost, boss: Port) -> None:
    tap = await host.make(Role.TAP)
    for _ in range(10):
        async with client(tap) as late:
            events = await late.subscribe("vm/exp1/")
            number = await announce(boss)
            event = await take(events)
            assert (event.topic, event.envelope.topic_seq, event.envelope.sender[:3]) == (STARTED, number, "vm@")


async def test_a_key_watches_what_it_may_and_is_told_what_not(host: GatewayHost, boss: Port) -> None:
    narrow = await host.make(Role.TAP, topics=("vm/exp1/", "log/"))
    async with client(narrow) as eye:
        for prefix in ("stats/", "vm/exp10/", "pipe/"):
            with pytest.raises(DeniedError, match=f"may not watch `{prefix}`"):
                await eye.subscribe(prefix)
        everything = await eye.subscribe("")
        for namespace in ("exp2", "exp10", "exp1"):
            await announce(boss, namespace)
        while (event := await take(everything)).topic.startswith("log/"):
            pass
        assert event.topic == STARTED
        everything.close()
        part = await eye.subscribe("vm/")
        await announce(boss, "exp2")
        await announce(boss)
        assert (await take(part)).topic == STARTED


async def test_a_key_of_a_namespace_sees_nothing_of_others_or_of_the_host(host: GatewayHost, boss: Port) -> None:
    async with client(await host.make(namespaces=("exp1",))) as lim:
        with pytest.raises(DeniedError):
            await lim.subscribe("stats/")
        with pytest.raises(DeniedError):
            await lim.subscribe("vm/exp2/")
        everything = await lim.subscribe("")
        for namespace in ("exp2", "exp1", "exp2", "exp1"):
            await announce(boss, namespace)
        assert [(await take(everything)).topic for _ in range(2)] == [STARTED, STARTED]


async def test_who_may_not_watch_any_more_is_told(host: GatewayHost, boss: Port) -> None:
    async with client(await host.make(Role.TAP, name="moved", topics=("vm/exp1/",))) as eye:
        events = await eye.subscribe("vm/exp1/")
        await announce(boss)
        host.store.change(lambda ring: ring.changed("moved", topics=("vm/exp2/",)))
        await host.reload()
        assert (await take(events)).topic == STARTED
        with pytest.raises(DeniedError, match="may not watch `vm/exp1/`"):
            await take(events)
        others = await eye.subscribe("vm/exp2/")
        await announce(boss, "exp2")
        assert (await take(others)).topic == "vm/exp2/web/started/"


async def test_clients_go_on_after_a_death() -> None:
    with gateway_host() as own:
        await own.serves()
        async with client(await own.make()) as port:
            events = await port.subscribe("vm/exp1/")
            for victim in ("gateway", "broker"):
                await announce(port)
                await take(events)
                own.restart(victim)
                await until(lambda: hears(port, events))
                assert await announce(port) > 0
                await take(events)


async def hears(port: Port, events: Subscription) -> bool:
    """Whether a client's requests are answered, and its events come."""
    try:
        await announce(port)
        await asyncio.wait_for(events.next(), 0.2)
    except (BusError, TimeoutError):
        return False
    return True


# --- the sockets alone


class Gate:
    """The gateway's sockets in this process: everybody may subscribe to what begins with their own name."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.endpoint = Endpoint(LOOPBACK, free_port())
        self.pair = new_pair()
        self.pairs: dict[str, Pair] = {name: new_pair() for name in names}
        self.cuts: list[str] = []
        doors = Doors(
            self._judge,
            lambda origin, frames: None,
            self._on_subscription,
            lambda fd, identity: None,
            lambda peer, why: self.cuts.append(why),
        )
        self.connections = Connections()
        self.sockets = GatewaySockets(self.endpoint, self.pair, doors, self.connections)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def _judge(self, public: str, address: str) -> Verdict:
        name = self._name(public)
        return Verdict(Key(name=name, public=public, role=Role.TAP) if name else None, "" if name else "unknown")

    def _name(self, public: str) -> str:
        return next((name for name, pair in self.pairs.items() if pair.public == public), "")

    def _on_subscription(self, origin: Origin, frame: bytes) -> None:
        prefix = frame[1:].decode()
        if frame[0] and prefix.startswith(self._name(origin.user)):
            self.sockets.give((prefix,), ())

    async def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return not self.connections.by_fd

    def subscriber(self, name: str) -> zmq.Socket[bytes]:
        """A bare XSUB with the key of that name."""
        sock = self._context.socket(zmq.XSUB)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, 300)
        pair = self.pairs[name]
        keys = ClientFile(name=name, public=pair.public, secret=pair.secret, server=self.pair.public)
        arm(sock, Remote(self.endpoint, keys))
        sock.setsockopt(zmq.RECONNECT_IVL, 60_000)
        sock.connect(self.endpoint.events)
        return sock

    def close(self, *socks: zmq.Socket[bytes]) -> None:
        """Close all."""
        for sock in socks:
            sock.close()
        self._context.term()
        self.sockets.close()


async def test_nobody_gets_what_another_one_subscribed_to(base_dir: object) -> None:
    """After a message that is no subscription, libzmq takes one client's subscriptions for another one's."""
    gate = Gate(("boss/", "thief/"))
    first, boss, second = (gate.subscriber(name) for name in ("thief/", "boss/", "thief/"))

    async def connected() -> bool:
        return len(gate.connections.by_fd) == 3

    await until(connected)
    await asyncio.sleep(0.2)  # the handshakes, of which only libzmq knows
    for sock, frame in ((first, b"\x05nonsense"), (boss, b"\x01boss/secret/"), (second, b"\x01thief/")):
        sock.send(frame)
        time.sleep(0.1)  # noqa: ASYNC251 - all of it is to wait when the gateway looks
    await until_cut(gate)
    gate.sockets.events.send([b"boss/secret/"])
    gate.sockets.events.send([b"thief/"])
    for sock in (first, second):
        with pytest.raises(zmq.Again):
            await asyncio.to_thread(sock.recv)
    assert gate.cuts == [
        "it sent something that is no subscription",
        *["another client confused the socket for events; this one may come back at once"] * 2,
    ]
    await until(gate.is_empty)
    honest = gate.subscriber("boss/")
    honest.send(b"\x01boss/secret/")
    await until_open(gate)
    gate.sockets.events.send([b"boss/secret/"])
    assert await asyncio.to_thread(honest.recv) == b"boss/secret/"
    gate.close(first, boss, second, honest)


async def until_cut(gate: Gate) -> None:
    """Wait until a connection was cut; what waited with it is dealt with in the same go."""

    async def cut() -> bool:
        return bool(gate.cuts)

    await until(cut)


async def until_open(gate: Gate) -> None:
    """Wait until somebody new has said something."""

    async def spoke() -> bool:
        return any(one.public for one in gate.connections.by_fd.values())

    await until(spoke)
