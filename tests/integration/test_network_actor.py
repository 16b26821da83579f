"""The network actor on the real kernel: killed in the middle of its work, and what it mends when it comes back."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bus.errors import ConflictError
from bus.messages.base import Ack
from bus.messages.network import (
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    GetHostTaps,
    GuestNic,
    InterfaceReport,
    MirrorTap,
    Netspec,
    Plugged,
    PlugGuests,
    UnplugGuests,
)
from shims.network.base import Port, Segment
from tests.integration.guest_ends import Guest, OpenFabric, guests
from tests.integration.network_host import NetworkHost, network_host

pytestmark = pytest.mark.system
GUESTS = 24
CHUNK = 4
KILLS = 5
TAP = "mbnet0"


@pytest.fixture(scope="module")
def ends() -> Iterator[list[Guest]]:
    with guests(GUESTS) as made:
        yield made


def nic(number: int, end: Guest, *vlans: int) -> GuestNic:
    """A guest as `vm` names it."""
    networks = tuple(Netspec(vlan=vlan) for vlan in vlans)
    return GuestNic(vm_id=number, name=f"vm{number}", namespace="minimega", pid=end.pid, networks=networks)


@contextmanager
def looked_into(tag: str) -> Iterator[OpenFabric]:
    """The fabric, as another process would see it."""
    fabric = OpenFabric(tag)
    try:
        yield fabric
    finally:
        fabric.close()


def segments(tag: str) -> dict[str, Segment | None]:
    """Where each port is."""
    with looked_into(tag) as fabric:
        return {name: one.segment for name, one in fabric.do(fabric.fabric.survey).ports.items()}


def ip(*words: str) -> str:
    """What ip(8) says."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def addresses(end: Guest) -> dict[str, str]:
    """Hardware addresses of a guest's interfaces, as the guest sees them."""

    def read() -> dict[str, str]:
        names = [name for _, name in socket.if_nameindex() if name.startswith("veth")]
        return {name: ip("-o", "link", "show", name).partition("link/ether ")[2].split()[0] for name in names}

    return end.do(read)


async def disturbed(host: NetworkHost, chance: random.Random) -> None:
    """Kill the actor at odd moments, and start another."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.0, 0.05))
        host.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.02))
        host.start()
        await asyncio.sleep(chance.uniform(0.15, 0.4))  # it may be starting, repairing or working then


async def quiet(host: NetworkHost) -> dict[str, Segment | None]:
    """Wait until a new actor has mended what the last death has left; returns where each port is."""
    await host.ask(UnplugGuests(vm_ids=()))  # waits its turn
    return segments(host.tag)


async def plugged_in(host: NetworkHost, ends: list[Guest]) -> dict[int, Plugged]:
    """All guests in several requests at once."""
    asked = [
        PlugGuests(
            guests=tuple(nic(number, ends[number], 101, 102 + number % 2) for number in range(start, start + CHUNK))
        )
        for start in range(0, GUESTS, CHUNK)
    ]
    reports = await asyncio.gather(*map(host.ask, asked))
    return {one.vm_id: one for report in reports for one in report.guests}


async def test_whenever_it_is_killed_all_requests_end_as_if_it_had_not_been(base_dir: Path, ends: list[Guest]) -> None:
    async with network_host(base_dir) as host:
        chance = random.Random(7)
        plugged, _ = await asyncio.gather(plugged_in(host, ends), disturbed(host, chance))
        assert {one.error for one in plugged.values()} == {""}
        expected: dict[str, Segment | None] = {}
        for number, one in plugged.items():
            expected |= zip(
                one.taps, (Segment("mega_bridge", 101), Segment("mega_bridge", 102 + number % 2)), strict=True
            )
        assert len(expected) == 2 * GUESTS
        assert await quiet(host) == expected
        for number, end in enumerate(ends):
            assert addresses(end) == dict(zip(("veth0", "veth1"), plugged[number].macs, strict=True))

        half = [UnplugGuests(vm_ids=tuple(range(start, start + CHUNK))) for start in range(0, GUESTS // 2, CHUNK)]
        move = ConnectInterfaces(
            vms=tuple(nic(number, ends[number]) for number in range(GUESTS // 2, GUESTS)), index=1, vlan=200
        )
        *_, moved, _ = await asyncio.gather(*map(host.ask, half), host.ask(move), disturbed(host, chance))
        assert moved == InterfaceReport()
        left: dict[str, Segment | None] = {
            tap: Segment("mega_bridge", 200 if tap == plugged[number].taps[1] else 101)
            for number in range(GUESTS // 2, GUESTS)
            for tap in plugged[number].taps
        }
        assert await quiet(host) == left

        forget = ForgetGuestNics(vm_ids=tuple(range(GUESTS)))
        forgotten, _ = await asyncio.gather(host.ask(forget), disturbed(host, chance))
        assert forgotten == Ack()
        assert (await host.interfaces()).guests == ()
        await host.stop()


async def test_a_new_actor_mends_what_was_changed_meanwhile(base_dir: Path, ends: list[Guest]) -> None:
    lan = Segment("mega_bridge", 101)
    async with network_host(base_dir) as host:
        await host.ask(PlugGuests(guests=tuple(nic(number, ends[number], 101) for number in range(3))))
        await host.ask(CreateTap(vlan=101, name=TAP, address="10.222.0.1/24"))
        await host.ask(MirrorTap(source="mega_tap0", destination=TAP))
        with pytest.raises(ConflictError, match=f"tap already on bridge: {TAP}"):
            await host.ask(CreateTap(vlan=5, name=TAP))
        taps = await host.ask(GetHostTaps())
        host.kill()
        with looked_into(host.tag) as fabric:
            fabric.do(fabric.fabric.remove_ports, ["mega_tap0"])
            fabric.do(fabric.fabric.plug, "mega_tap1", Segment("mega_bridge", 9))
            stranger = Port("stranger", lan, ends[3].pid, "veth0", "02:00:00:00:02:00")
            assert fabric.do(fabric.fabric.add_ports, [stranger]) == dict[str, str]()
        ip("link", "delete", TAP)
        wanted: dict[str, Segment | None] = dict.fromkeys(("mega_tap0", "mega_tap1", "mega_tap2", TAP), lan)
        host.start()
        assert await quiet(host) == wanted
        assert await host.ask(GetHostTaps()) == taps
        assert "10.222.0.1/24" in ip("-o", "address", "show", TAP)
        assert host.said().count('"interface_repaired"') == 5  # three ports, one stranger, the mirror
        assert addresses(ends[3]) == {}

        assert await host.ask(DeleteTaps(name="all")) == InterfaceReport()
        assert await host.ask(EndNetworks()) == Ack()
        assert segments(host.tag) == {}
        await host.stop()
