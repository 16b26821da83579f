"""The shell of the network actor on the loop of the test, with a fabric in memory: when it is made, when it goes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.network import actor as shell
from actors.network.actor import NetworkActor
from bus import codec
from bus.messages.base import Ack, Failure, Message
from bus.messages.envelope import Envelope
from bus.messages.network import (
    Bridges,
    CreateTap,
    DeleteTaps,
    ForgetGuestNics,
    GetBridges,
    GetHostTaps,
    GetInterfaces,
    GetRates,
    HostTaps,
    InterfaceList,
    PlugGuests,
    PlugReport,
    Rates,
)
from bus.paths import context
from shims.network import netns
from shims.network.base import Addresses, Counters, Fabric
from tests.unit.actors.network.fake_fabric import FakeFabric
from tests.unit.actors.network.model import guest, net
from tests.unit.bus.toy import LoopbackPort

PLUG = PlugGuests(guests=(guest(1, net(101)),))


class Bench:
    """An actor without a bus."""

    def __init__(self, base: Path, fabric: FakeFabric) -> None:
        class InMemory(NetworkActor):
            """Touches no kernel."""

            def make_fabric(self) -> Fabric:
                return fabric

        self.actor = InMemory(context(base), None)
        self.fabric = fabric
        self.port = LoopbackPort()
        self.actor.port._zmq.term()
        self.actor.port = self.port  # type: ignore[assignment]
        self.logged: list[str] = []
        self.actor.log.record = lambda level, event, fields: self.logged.append(event)  # type: ignore[method-assign]

    async def ask(self, body: Message) -> Message:
        """A request arrives; its answer."""
        msg_id = os.urandom(4).hex()
        envelope = Envelope(kind="request", id=msg_id, type=codec.tag_of(body), namespace="minimega", ttl_ms=10_000)
        self.actor._on_request(envelope, codec.encode(body))
        await until(lambda: msg_id in dict(self.port.replies))
        return dict(self.port.replies)[msg_id]


async def until(true: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10.0):
        while not true():  # noqa: ASYNC110 - nobody who could tell of it
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(base: Path, fabric: FakeFabric) -> AsyncIterator[Bench]:
    """An actor that has started; stopped in order afterwards."""
    bench = Bench(base, fabric)
    await bench.actor.start()
    try:
        yield bench
    finally:
        await bench.actor.stop()
        for task in tuple(bench.actor._tasks):
            task.cancel()
        await asyncio.gather(*bench.actor._tasks, return_exceptions=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes by faster."""
    for name in ("SAMPLE_S", "AUDIT_S", "IDLE_S", "FILES_S"):
        monkeypatch.setattr(shell, name, 0.01)


async def test_who_needs_no_network_has_no_fabric_and_no_thread(base_dir: Path) -> None:
    fabric = FakeFabric()
    before = threading.active_count()
    async with running(base_dir, fabric) as bench:
        assert await bench.ask(GetBridges()) == Bridges()
        assert await bench.ask(GetInterfaces()) == InterfaceList(guests=())
        assert await bench.ask(GetRates()) == Rates()
        assert await bench.ask(ForgetGuestNics(vm_ids=(1,))) == Ack()
        assert await bench.ask(DeleteTaps(name="all"))
        assert threading.active_count() == before
    assert (fabric.calls, list(base_dir.glob("bridges"))) == ([], [])


@pytest.mark.usefixtures("quick")
async def test_a_fabric_is_made_when_it_is_needed_and_goes_when_it_is_not(base_dir: Path) -> None:
    fabric = FakeFabric()
    before = threading.active_count()
    async with running(base_dir, fabric) as bench:
        for _ in range(2):
            await bench.ask(PLUG)
            assert fabric.is_open
            await bench.ask(ForgetGuestNics(vm_ids=(1,)))
            await until(lambda: not fabric.exists)
        await until(lambda: threading.active_count() == before)


async def test_guests_keep_their_fabric_when_the_actor_stops_and_the_next_one_takes_it_over(base_dir: Path) -> None:
    fabric = FakeFabric()
    async with running(base_dir, fabric) as bench:
        await bench.ask(PLUG)
    assert (fabric.exists, fabric.is_open, len(fabric.ports)) == (True, False, 1)
    fabric.ports.clear()
    async with running(base_dir, fabric) as bench:
        await until(lambda: fabric.ports)
        await until(lambda: "net/minimega/repaired/" in bench.port.published)
        await bench.ask(ForgetGuestNics(vm_ids=(1,)))
    assert not fabric.exists


async def test_host_taps_stay_when_the_actor_stops_and_come_back_if_they_are_gone(base_dir: Path) -> None:
    fabric = FakeFabric()
    async with running(base_dir, fabric) as bench:
        await bench.ask(CreateTap(vlan=5, name="foo"))
    assert "foo" in fabric.taps
    fabric.destroy()
    async with running(base_dir, fabric) as bench:
        await until(lambda: "foo" in fabric.taps)
        await bench.ask(DeleteTaps(name="foo"))
    assert not fabric.exists


async def test_a_crash_leaves_the_fabric_and_what_is_left_is_removed(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = FakeFabric()
    async with running(base_dir, fabric) as bench:
        await bench.ask(CreateTap(vlan=5, name="foo"))
        bench.actor.exit_status = 70
    assert fabric.exists
    (base_dir / "state" / "network" / "journal").unlink()
    (base_dir / "state" / "network" / "snapshot").unlink()
    monkeypatch.setattr(netns, "exists", lambda tag: fabric.exists)
    async with running(base_dir, fabric):
        await until(lambda: not fabric.taps)
    assert not fabric.exists


@pytest.mark.parametrize(
    ("breaks", "refuses", "sentence"),
    [
        ("", "open", "open: the kernel refused"),
        ("open", "", "internal error in network; its log has it under operation 2"),
        ("add_ports", "", "internal error in network; its log has it under operation 2"),
    ],
)
async def test_a_call_that_goes_wrong_costs_its_request_and_no_more(
    base_dir: Path, breaks: str, refuses: str, sentence: str
) -> None:
    fabric = FakeFabric()
    fabric.breaks, fabric.refuses = {breaks}, {refuses}
    async with running(base_dir, fabric) as bench:
        reply = await bench.ask(PLUG)
        assert isinstance(reply, PlugReport)
        assert reply.guests[0].error == sentence
        assert ("operation_failed" in bench.logged) == bool(breaks)
        tap = await bench.ask(CreateTap(vlan=1, bridge="all"))
        assert isinstance(tap, Failure)
        fabric.breaks, fabric.refuses = set(), set()
        again = await bench.ask(PLUG)
        assert isinstance(again, PlugReport)
        assert again.guests[0].error == ""


@pytest.mark.usefixtures("quick")
async def test_traffic_addresses_and_damage_are_noticed(base_dir: Path) -> None:
    fabric = FakeFabric()
    fabric.lacks = ("no delays here",)
    async with running(base_dir, fabric) as bench:
        await bench.ask(PLUG)
        fabric.learned = {"mega_tap0": Addresses("10.0.0.1")}
        fabric.traffic = {"mega_tap0": Counters(0, 0)}
        fabric.breaks = {"addresses"}
        await until(lambda: "watching_failed" in bench.logged)
        fabric.breaks = set()

        async def seen() -> Any:
            found = await bench.ask(GetInterfaces())
            assert isinstance(found, InterfaceList)
            return found.guests[0].interfaces[0]

        while (await seen()).ip != "10.0.0.1" or not (await seen()).rx_mbps:
            fabric.traffic = {"mega_tap0": Counters(fabric.traffic["mega_tap0"].rx_bytes + 10_000, 0)}
            await asyncio.sleep(0.005)
        rates = await bench.ask(GetRates())
        assert isinstance(rates, Rates)
        assert (rates.vms[0].vm_id, rates.rx_mbps > 0, rates.tx_mbps) == (1, True, 0.0)
        fabric.ports.clear()
        await until(lambda: fabric.ports)
        assert bench.logged.count("networks_lack") == 1
        fabric.refuses = {"add_ports"}
        fabric.ports.clear()
        await until(lambda: "repair_failed" in bench.logged)
        looks = fabric.calls.count("survey")
        await until(lambda: fabric.calls.count("survey") > looks + 3)
        assert bench.logged.count("repair_failed") == 1


@pytest.mark.usefixtures("quick")
async def test_files_say_which_bridges_and_taps_there_are(base_dir: Path) -> None:
    fabric = FakeFabric()
    async with running(base_dir, fabric) as bench:
        reply = await bench.ask(CreateTap(vlan=5, name="foo", bridge="br"))
        assert isinstance(reply, HostTaps)
        assert await bench.ask(GetHostTaps()) == reply
        await until((base_dir / "taps").exists)
        assert (base_dir / "taps").read_text() == "Bridge Tap VLAN\nbr     foo 5\n"
        assert "br     false                   [5]\n" in (base_dir / "bridges").read_text()
        await bench.ask(DeleteTaps(name="foo"))
    assert (base_dir / "taps").read_text() == "Bridge Tap VLAN\n"
    assert sorted(path.name for path in base_dir.glob(".*")) == []


async def test_what_is_asked_at_the_very_end_is_done_by_the_next_actor(base_dir: Path) -> None:
    fabric = FakeFabric()
    async with running(base_dir, fabric) as bench:
        await bench.ask(PLUG)
        await bench.actor._kernel.end(destroy=False)
        envelope = Envelope(kind="request", id="last", type="network.forget", namespace="minimega", ttl_ms=10_000)
        bench.actor._on_request(envelope, codec.encode(ForgetGuestNics(vm_ids=(1,))))
        await asyncio.sleep(0)
    assert (fabric.is_open, len(fabric.ports), "last" in dict(bench.port.replies)) == (False, 1, False)
    async with running(base_dir, fabric) as bench:
        await until(lambda: "last" in dict(bench.port.replies))
    assert not fabric.exists


async def test_a_look_makes_no_fabric(base_dir: Path) -> None:
    fabric = FakeFabric()
    async with running(base_dir, fabric) as bench:
        assert await bench.actor._kernel.look(FakeFabric.counters) is None  # type: ignore[arg-type]
    assert fabric.calls == []
