"""Interfaces of guests on the real kernel: who hears whom, what is refused, what a new process finds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from shims.network import clearing, netns
from shims.network.base import Counters, FabricError, Port, Segment
from shims.network.fabric import KernelFabric
from tests.integration.frames import Ear, frame
from tests.integration.guest_ends import Guest, OpenFabric, guests

pytestmark = pytest.mark.system
TAG = f"f{os.getpid() % 46656:03x}"
LAN, OTHER = Segment("mega_bridge", 101), Segment("mega_bridge", 102)
NONE: dict[str, str] = {}


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenFabric]:
    """A fabric that is gone afterwards."""
    one = OpenFabric(TAG)
    try:
        yield one
        one.do(one.fabric.destroy)
    finally:
        one.close()
    assert clearing.left(TAG) == []


@pytest.fixture(scope="module")
def ends() -> Iterator[list[Guest]]:
    with guests(4) as made:
        yield made


@pytest.fixture
def fabric(opened: OpenFabric) -> Iterator[OpenFabric]:
    """The fabric, empty before and after."""
    yield opened
    opened.do(opened.fabric.remove_ports, list(opened.do(opened.fabric.survey).ports))
    assert [link.name for link in opened.links()] == ["lo"]


@contextmanager
def plugged(fabric: OpenFabric, wanted: dict[Guest, Segment | None]) -> Iterator[list[Ear]]:
    """These guests, up, each with an ear."""
    assert fabric.do(fabric.fabric.add_ports, [guest.port(segment) for guest, segment in wanted.items()]) == NONE
    with ExitStack() as stack:
        ears = []
        for guest in wanted:
            guest.run("ip", "link", "set", "veth0", "up")
            ears.append(Ear(stack.enter_context(guest.raw_socket())))
        fabric.running(*(guest.tap for guest in wanted))
        yield ears


def hostile(source: str, victim: str) -> dict[str, bytes]:
    """What a guest may send in the hope that somebody in another VLAN, 102, hears it."""
    own = "02:00:00:00:01:00"
    found = {
        "broadcast": frame("broadcast", own),
        "to the victim": frame("to the victim", own, victim),
        "from the victim": frame("from the victim", victim),
        "tagged": frame("tagged", own, tags=(102,)),
        "tagged twice": frame("tagged twice", own, tags=(101, 102)),
        "priority": frame("priority", own, tags=(0, 102)),
        "to the victim, tagged": frame("to the victim, tagged", source, victim, tags=(102,)),
        "multicast": frame("multicast", own, "33:33:00:00:00:01"),
    }
    for last in range(16):
        text = f"link-local {last}"
        found[text] = frame(text, own, f"01:80:c2:00:00:{last:02x}")
    return found


def test_segments_do_not_hear_each_other(fabric: OpenFabric, ends: list[Guest]) -> None:
    attacker, neighbour, victim, beside = ends
    with plugged(fabric, {attacker: LAN, neighbour: LAN, victim: OTHER, beside: OTHER}) as ears:
        ears[2].send(frame("learn me", victim.mac))
        assert ears[3].until("learn me") == []
        frames = hostile(attacker.mac, victim.mac)
        ears[0].send(*frames.values(), frame("last", attacker.mac))
        heard = {text for text, _ in ears[1].until("last")}
        assert {"broadcast", "to the victim", "from the victim", "multicast"} <= heard
        ears[2].send(frame("still here", victim.mac))
        assert ears[3].until("still here") == []
        ears[3].send(frame("end", beside.mac, victim.mac))  # it is still known where the victim is
        assert ears[2].until("end") == []


def test_nothing_of_the_fabric_answers(fabric: OpenFabric, ends: list[Guest]) -> None:
    one, two = ends[:2]
    with plugged(fabric, {one: LAN, two: LAN}) as ears:
        one.run("ip", "address", "add", "10.9.0.1/24", "dev", "veth0")
        assert fabric.do(lambda: Path("/proc/sys/net/ipv4/conf/all/forwarding").read_text()) == "0\n"
        assert fabric.do(lambda: Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text()) == "1\n"
        for address in ("10.9.0.250", "127.0.0.1"):
            ears[0].send(arp_for(one, address))
        ears[1].send(frame("end", two.mac))
        assert ears[0].until("end") == []


def arp_for(guest: Guest, address: str) -> bytes:
    """A question that carries the mark, which an answer would repeat."""
    asked = bytes(int(part) for part in address.split("."))
    mac = bytes.fromhex(guest.mac.replace(":", ""))
    question = bytes.fromhex("0001080006040001") + mac + bytes((10, 9, 0, 1)) + bytes(6) + asked
    return b"\xff" * 6 + mac + b"\x08\x06" + question


def test_a_port_is_moved_and_unplugged(fabric: OpenFabric, ends: list[Guest]) -> None:
    mover, here, there = ends[:3]
    with plugged(fabric, {mover: LAN, here: LAN, there: OTHER}) as ears:
        for step, segment in enumerate((OTHER, None, LAN, Segment("other_bridge", 101), OTHER)):
            fabric.do(fabric.fabric.plug, mover.tap, segment)
            assert fabric.do(fabric.fabric.survey).ports[mover.tap].segment == segment
            ears[0].send(frame(f"step {step}", mover.mac))
        ears[0].send(frame("end", mover.mac))
        assert [text for text, _ in ears[2].until("end")] == ["step 0", "step 4"]
        fabric.do(fabric.fabric.plug, mover.tap, LAN)
        ears[0].send(frame("end", mover.mac))
        assert [text for text, _ in ears[1].until("end")] == ["step 2"]
    with pytest.raises(FabricError, match="there is no port mega_tap99"):
        fabric.do(fabric.fabric.plug, "mega_tap99", LAN)


def test_refusals_are_for_one_port_alone(fabric: OpenFabric, ends: list[Guest]) -> None:
    ended = Guest(9)
    ended.close()
    host = Port("mega_tap8", OTHER, os.getpid(), "veth0", "02:00:00:00:00:08")
    long = Port("mega_tap_too_long", LAN, ends[1].pid, "veth0", "02:00:00:00:00:09")
    twice = Port("mega_tap7", LAN, ends[0].pid, "veth0", "02:00:00:00:00:07")
    refused = fabric.do(fabric.fabric.add_ports, [ends[0].port(), ended.port(OTHER), host, long, twice])
    assert refused.pop("mega_tap_too_long").startswith("mega_tap_too_long cannot be made: ")
    assert refused == {
        ended.tap: f"{ended.tap} cannot be made: the guest has ended",
        "mega_tap8": "mega_tap8 cannot be made: the guest has no network namespace of its own",
        "mega_tap7": "mega_tap7 cannot be made: the guest has a veth0 already",
    }
    assert list(fabric.do(fabric.fabric.survey).ports) == [ends[0].tap]
    assert not Path("/sys/class/net/veth0").exists()


def test_what_is_left_of_a_port_is_replaced(fabric: OpenFabric, ends: list[Guest]) -> None:
    assert fabric.do(fabric.fabric.add_ports, [ends[0].port(LAN)]) == NONE
    assert fabric.do(fabric.fabric.add_ports, [ends[0].port(OTHER), ends[1].port(OTHER)]) == NONE
    ports = fabric.do(fabric.fabric.survey).ports
    assert {name: seen.segment for name, seen in ports.items()} == {ends[0].tap: OTHER, ends[1].tap: OTHER}


def test_a_guest_that_ends_takes_its_port_with_it(fabric: OpenFabric) -> None:
    guest = Guest(5)
    assert fabric.do(fabric.fabric.add_ports, [guest.port(LAN)]) == NONE
    guest.close()
    fabric.do(fabric.fabric.remove_ports, [guest.tap, "mega_tap77"])
    assert fabric.do(fabric.fabric.survey).ports == {}


def test_a_new_process_finds_everything(fabric: OpenFabric, ends: list[Guest]) -> None:
    wanted = {ends[0]: LAN, ends[1]: Segment("a.b-c", 4095), ends[2]: None, ends[3]: Segment("a.b-c", 0)}
    with plugged(fabric, wanted):
        before = fabric.do(fabric.fabric.survey)
        other = OpenFabric(TAG)
        assert other.do(other.fabric.survey) == before
        assert {name: seen.segment for name, seen in before.ports.items()} == {
            guest.tap: segment for guest, segment in wanted.items()
        }
        assert before.segments == {segment for segment in wanted.values() if segment}
        other.do(other.fabric.remove_ports, [guest.tap for guest in wanted])
        other.close()


def test_a_name_that_somebody_took_away_is_given_again(fabric: OpenFabric, ends: list[Guest]) -> None:
    with plugged(fabric, {ends[0]: LAN, ends[1]: LAN}) as (one, other):
        before = Path(netns.path(TAG)).stat()
        subprocess.run(["ip", "netns", "delete", f"minibus_{TAG}"], check=True)
        assert not netns.exists(TAG)
        fabric.do(fabric.fabric.survey)
        assert os.path.samestat(before, Path(netns.path(TAG)).stat())
        subprocess.run(["ip", "netns", "delete", f"minibus_{TAG}"], check=True)
        subprocess.run(["ip", "netns", "add", f"minibus_{TAG}"], check=True)
        fabric.do(fabric.fabric.survey)
        assert os.path.samestat(before, Path(netns.path(TAG)).stat())
        one.send(frame("still here", ends[0].mac))
        assert other.until("still here") == []


def test_counters_are_the_guest_s(fabric: OpenFabric, ends: list[Guest]) -> None:
    with plugged(fabric, {ends[0]: LAN, ends[1]: LAN}) as ears:
        before = fabric.do(fabric.fabric.counters)
        ears[0].send(*[frame("x", ends[0].mac) + bytes(900)] * 40, frame("end", ends[0].mac))
        ears[1].until("end")
        after = fabric.do(fabric.fabric.counters)
    grown = {
        name: Counters(after[name].rx_bytes - before[name].rx_bytes, after[name].tx_bytes - before[name].tx_bytes)
        for name in after
    }
    assert grown[ends[0].tap].tx_bytes > 36_000 > grown[ends[0].tap].rx_bytes
    assert grown[ends[1].tap].rx_bytes > 36_000 > grown[ends[1].tap].tx_bytes


def test_more_ports_than_a_bridge_takes(ends: list[Guest], opened: OpenFabric) -> None:
    """With a limit of three; the real one is below."""
    small = OpenFabric(f"{TAG[:3]}z", ports_limit=3)
    ports = [
        Port(f"mega_tap{number}", LAN, ends[number % 4].pid, f"veth{number // 4}", f"02:00:00:00:02:{number:02x}")
        for number in range(8)
    ]
    try:
        assert small.do(small.fabric.add_ports, ports) == NONE
        with ExitStack() as stack:
            for guest in ends:
                guest.run("ip", "link", "set", "veth0", "up")
                guest.run("ip", "link", "set", "veth1", "up")
            small.running(*(port.name for port in ports))
            ears = [Ear(stack.enter_context(guest.raw_socket())) for guest in ends]
            ears[0].send(frame("hello", ends[0].mac))
            ears[3].send(frame("and you", ends[3].mac))
            for ear in ears[1:3]:
                assert ear.until("and you") == [("hello", ())]
        again = OpenFabric(f"{TAG[:3]}z", ports_limit=3)
        again.do(again.fabric.remove_ports, [port.name for port in ports[:3]])
        assert set(again.do(again.fabric.survey).ports) == {port.name for port in ports[3:]}
        again.do(again.fabric.remove_ports, [port.name for port in ports])
        assert [link.name for link in again.links()] == ["lo"]
        again.close()
    finally:
        small.do(small.fabric.destroy)
        small.close()


def test_empty_segments_go_a_few_at_a_time(fabric: OpenFabric, ends: list[Guest]) -> None:
    ports = [
        Port(f"mega_tap{vlan}", Segment("mega_bridge", vlan), ends[0].pid, f"veth{vlan}", f"02:00:00:00:03:{vlan:02x}")
        for vlan in range(1, 31)
    ]
    assert fabric.do(fabric.fabric.add_ports, ports) == NONE
    fabric.do(fabric.fabric.remove_ports, [port.name for port in ports])
    assert fabric.do(fabric.fabric.survey).segments == frozenset()
    assert fabric.do(fabric.fabric.add_ports, ports[:1]) == NONE, "one that waits is used again"
    assert fabric.do(fabric.fabric.survey).segments == {ports[0].segment}
    fabric.do(fabric.fabric.remove_ports, [ports[0].name])


def test_more_than_a_thousand_ports(fabric: OpenFabric, ends: list[Guest]) -> None:
    ports = [
        Port(
            f"mega_tap{number}",
            LAN,
            ends[number % 4].pid,
            f"veth{number // 4}",
            f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}",
        )
        for number in range(1030)
    ]
    for start in range(0, len(ports), 25):
        assert fabric.do(fabric.fabric.add_ports, ports[start : start + 25]) == NONE
    found = fabric.do(fabric.fabric.survey)
    assert {name: seen.segment for name, seen in found.ports.items()} == dict.fromkeys((p.name for p in ports), LAN)
    assert len(fabric.do(fabric.fabric.counters)) == 1030
    last = "veth257"
    ends[0].run("ip", "link", "set", "veth0", "up")
    ends[1].run("ip", "link", "set", last, "up")
    fabric.running("mega_tap0", "mega_tap1029")
    with ends[0].raw_socket() as first, ends[1].raw_socket(last) as other:
        ear = Ear(other)
        Ear(first).send(frame("hello", ends[0].mac))
        assert ear.until("hello") == []
    fabric.do(fabric.fabric.remove_ports, [port.name for port in ports])
    assert fabric.do(fabric.fabric.survey).ports == {}


@pytest.mark.parametrize("lost", ["nothing", "mount"])
def test_what_runs_no_more_is_cleared(lost: str, ends: list[Guest]) -> None:
    tag = f"{TAG[:3]}y"
    one = OpenFabric(tag)
    one.do(one.fabric.add_ports, [ends[0].port(LAN)])
    one.close()
    if lost == "mount":
        subprocess.run(["umount", netns.path(tag)], check=True)
    assert clearing.devices(tag) == ([] if lost == "mount" else [f"device {ends[0].tap} (in {netns.path(tag)})"])
    assert f"network namespace {netns.path(tag)}" in clearing.left(tag)
    for _ in range(2):
        clearing.clear(tag)
        assert clearing.left(tag) == []


def test_a_file_in_its_place_is_replaced() -> None:
    tag = f"{TAG[:3]}x"
    Path(netns.path(tag)).write_text("")
    one = OpenFabric(tag)
    one.do(one.fabric.destroy)
    one.close()
    assert clearing.left(tag) == []


def test_what_cannot_be_opened_leaves_nothing() -> None:
    tag = f"{TAG[:3]}z"
    with ThreadPoolExecutor(1) as thread, pytest.raises(FabricError, match="nonsense"):
        thread.submit(KernelFabric(tag, way="nonsense").open).result()
    assert clearing.left(tag) == []
