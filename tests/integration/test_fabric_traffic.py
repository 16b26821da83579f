"""Rates, addresses learned and mirrors on the real kernel, with real frames."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.messages.network import Shaping
from shims.netlink import qdisc
from shims.netlink.netlink import NLM_F_CREATE, Message, text
from shims.network import mirroring, shaping
from shims.network.base import Addresses, FabricError
from shims.network.nft import Nft, NftError
from shims.network.traffic import Traffic
from tests.integration.guest_ends import WAIT_S, Guest, OpenFabric, arp, guests, neighbour
from tests.system import patience

pytestmark = pytest.mark.system
TAG = f"t{os.getpid() % 46656:03x}"


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenFabric]:
    """A fabric that is gone afterwards."""
    one = OpenFabric(TAG)
    yield one
    one.do(one.fabric.destroy)
    one.close()
    assert not Path("/run/netns", f"minibus_{TAG}").exists()


@pytest.fixture(scope="module")
def ends() -> Iterator[list[Guest]]:
    with guests(4) as made:
        yield made


@pytest.fixture
def plugged(opened: OpenFabric, ends: list[Guest]) -> Iterator[list[Guest]]:
    """Four guests on one segment, up, with addresses, of which nothing is known yet."""
    assert opened.do(opened.fabric.add_ports, [guest.port() for guest in ends]) == {}
    assert opened.do(opened.fabric.addresses) == {}
    for guest in ends:
        guest.bring_up()
    yield ends
    opened.do(opened.fabric.remove_ports, [guest.tap for guest in ends])


def until(look: Callable[[], object], wanted: object) -> None:
    """Wait until a look shows what is wanted."""
    end_s = time.monotonic() + WAIT_S
    while (seen := look()) != wanted:
        assert time.monotonic() < end_s, f"{seen} is not {wanted}"
        time.sleep(0.01)


# --- constraints


def throughput_bps(sender: Guest, receiver: Guest, for_s: float) -> float:
    """Of one TCP connection, without its first third."""
    server = receiver.do(socket.create_server, (receiver.address, 0))
    client = sender.do(socket.create_connection, server.getsockname(), WAIT_S)
    accepted, _ = server.accept()
    end_s = time.monotonic() + for_s
    client.settimeout(0.2)
    for one in (client, accepted):  # closed at once: nothing is sent again in a later test
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def send() -> None:
        while time.monotonic() < end_s:
            try:
                client.send(bytes(65536))
            except TimeoutError:
                continue

    thread = threading.Thread(target=send)
    thread.start()
    begun_s, received = 0.0, 0
    with server, client, accepted:
        while time.monotonic() < end_s:
            if select.select([accepted], [], [], 0.1)[0]:
                received += len(accepted.recv(1 << 20))
            if not begun_s and time.monotonic() > end_s - for_s * 2 / 3:
                begun_s, received = time.monotonic(), 0
        took_s = time.monotonic() - begun_s
        thread.join()
    return received * 8 / took_s


def test_a_rate_is_what_the_guest_receives(opened: OpenFabric, plugged: list[Guest]) -> None:
    first, second = plugged[:2]
    assert opened.do(opened.fabric.shape, second.tap, Shaping(rate_bps=1_000_000)) == []
    assert 0.6e6 < throughput_bps(first, second, 1.5) < 1.3e6
    assert throughput_bps(second, first, 0.3) > 20e6
    opened.do(opened.fabric.plug, second.tap, None)
    opened.do(opened.fabric.plug, second.tap, first.port().segment)
    assert throughput_bps(first, second, 1.0) < 1.7e6, "it does not stay when the port is moved"
    assert opened.do(opened.fabric.shape, second.tap, Shaping()) == []
    assert opened.do(opened.fabric.shape, second.tap, Shaping()) == []
    assert throughput_bps(first, second, 0.3) > 20e6


def test_what_the_kernel_refuses_leaves_what_was(
    opened: OpenFabric, plugged: list[Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = plugged[:2]
    opened.do(opened.fabric.shape, second.tap, Shaping(rate_bps=1_000_000))

    def unknown(index: int, *_: object) -> Message:
        head = qdisc.delete_root(index).payload
        return Message(qdisc.RTM_NEWQDISC, head + text(qdisc.TCA_KIND, "mbnone"), NLM_F_CREATE | qdisc.NLM_F_REPLACE)

    monkeypatch.setattr(shaping, "message", unknown)
    with pytest.raises(FabricError, match=f"^the kernel refuses these constraints for {second.tap}: "):
        opened.do(opened.fabric.shape, second.tap, Shaping(rate_bps=2_000_000))
    assert throughput_bps(first, second, 1.0) < 1.7e6


def test_constraints_for_an_interface_that_is_gone(opened: OpenFabric) -> None:
    assert opened.do(opened.fabric.shape, "mega_tap99", Shaping(rate_bps=1_000_000)) == []


# --- addresses


@pytest.mark.parametrize(
    ("frames", "learned"),
    [
        ([arp("10.9.0.1"), arp("10.9.0.7")], Addresses(ip="10.9.0.7")),
        ([arp("10.9.0.1", vlan=5)], Addresses(ip="10.9.0.1")),
        ([arp("10.9.0.1", mac="02:00:00:00:99:99")], Addresses(ip="10.9.0.1")),
        ([arp("10.9.0.1"), arp("0.0.0.0"), arp("169.254.1.2"), arp("224.0.0.1")], Addresses(ip="10.9.0.1")),
        ([neighbour("2001:db8::1", "2001:db8::2")], Addresses(ip6="2001:db8::1")),
        ([neighbour("2001:db8::1", "2001:db8::2", vlan=7)], Addresses(ip6="2001:db8::1")),
        ([neighbour("fd00::1", "fe80::2"), neighbour("fe80::1", "fd00::3")], Addresses(ip6="fd00::1")),
        ([neighbour("::", "fd00::4")], Addresses(ip6="fd00::4")),
        ([neighbour("fd00::5", "fd00::6"), neighbour("::", "fe80::4")], Addresses(ip6="fd00::5")),
        ([neighbour("fe80::1", "fd00::7", kind=136)], Addresses(ip6="fd00::7")),
        ([arp("10.9.0.1"), neighbour("::", "ff02::1"), neighbour("::", "fd00::8")], Addresses("10.9.0.1", "fd00::8")),
        ([arp("10.9.0.1"), arp("10.9.0.2")[:20], arp("10.9.0.3")[:30]], Addresses(ip="10.9.0.1")),
    ],
)
def test_addresses_are_learned(
    opened: OpenFabric, plugged: list[Guest], frames: list[bytes], learned: Addresses
) -> None:
    with plugged[0].raw_socket() as line:
        for frame in frames:
            line.send(frame)
    until(lambda: opened.do(opened.fabric.addresses).get(plugged[0].tap), learned)


def test_addresses_of_ordinary_guests(opened: OpenFabric, plugged: list[Guest]) -> None:
    first, second = plugged[:2]
    with second.udp() as there, first.udp() as here:
        here.sendto(b"hello", there.getsockname())
        assert there.recv(100) == b"hello"
    wanted = {guest.tap: Addresses(ip=guest.address) for guest in (first, second)}
    until(lambda: opened.do(opened.fabric.addresses), wanted)
    opened.do(opened.fabric.plug, first.tap, None)
    assert opened.do(opened.fabric.addresses) == wanted, "they do not stay when the port is unplugged"
    again = OpenFabric(TAG)
    assert again.do(again.fabric.addresses) == wanted, "a new process does not know what the kernel knows"
    again.close()


def test_a_guest_that_floods_has_one_address_and_others_go_on(opened: OpenFabric, plugged: list[Guest]) -> None:
    with plugged[0].raw_socket() as line:
        for number in range(100_000):
            line.send(arp(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
        with plugged[1].raw_socket() as other:
            other.send(arp("10.9.0.2"))
        for number in range(20_000):
            line.send(neighbour(f"fd00::{number:x}", "fd00::"))
    until(lambda: sorted(opened.do(opened.fabric.addresses)), [guest.tap for guest in plugged[:2]])
    found = opened.do(opened.fabric.addresses)
    assert found[plugged[1].tap] == Addresses(ip="10.9.0.2")
    assert found[plugged[0].tap].ip
    assert found[plugged[0].tap].ip6


def test_addresses_of_a_thousand_ports_take_no_time(opened: OpenFabric, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = opened.fabric._traffic
    assert isinstance(traffic, Traffic)
    learning = traffic._learning
    assert learning is not None
    names = [f"mega_tap{number}" for number in range(1000, 2000)]
    for map_, prefix in (("mb_v4", "10.8.{0}.{1}"), ("mb_v6", "fd00::{0}:{1}")):
        pairs = [[name, prefix.format(number >> 8, number & 255)] for number, name in enumerate(names)]
        place = {"family": "bridge", "table": "minibus_addresses", "name": map_}
        opened.do(learning._nft.apply, [{"add": {"element": {**place, "elem": pairs}}}])
    took_s = min(_timed(lambda: opened.do(learning.addresses)) for _ in range(5))
    found = opened.do(learning.addresses)
    assert len(found) == 1000
    assert took_s < 0.2 * patience.FACTOR, "it takes 8 ms where nothing else runs"
    opened.do(learning.forget, names[1:])
    assert list(opened.do(learning.addresses)) == names[:1]
    opened.do(learning.forget, names)
    assert opened.do(learning.addresses) == {}
    busy = iter([NftError("not there")])
    apply = learning._nft.apply

    def sometimes(commands: list[dict[str, object]]) -> None:
        for error in busy:
            raise error
        apply(commands)

    place = {"family": "bridge", "table": "minibus_addresses", "name": "mb_v4"}
    opened.do(apply, [{"add": {"element": {**place, "elem": [["mega_tap9", "10.0.0.1"]]}}}])
    monkeypatch.setattr(learning._nft, "apply", sometimes)
    opened.do(learning.forget, ["mega_tap9"])
    assert opened.do(learning.addresses) == {}


def _timed(function: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    function()
    return time.perf_counter() - begun_s


# --- mirrors


def copies(mirror: socket.socket, marks: list[bytes]) -> list[bytes]:
    """Which of these marks come out of a mirror, in the order of their arrival, up to the last mark."""
    found: list[bytes] = []
    while not found or found[-1] != marks[-1]:
        frame = mirror.recv(4096)
        found += [mark for mark in marks if frame.endswith(mark)]
    return found


def test_a_mirror_shows_both_directions(opened: OpenFabric, plugged: list[Guest]) -> None:
    first, second, third, fourth = plugged
    opened.do(opened.fabric.mirror, first.tap, third.tap)
    opened.do(opened.fabric.mirror, first.tap, fourth.tap)
    marks = [b"mark%d" % number for number in range(7)]
    with first.udp() as here, second.udp() as there, third.raw_socket() as one, fourth.raw_socket() as two:
        for mark in marks[:-1:2]:
            here.sendto(mark, there.getsockname())
            assert there.recv(100) == mark
            there.sendto(marks[marks.index(mark) + 1], here.getsockname())
            assert here.recv(100) == marks[marks.index(mark) + 1]
        here.sendto(marks[-1], there.getsockname())
        assert copies(one, marks) == copies(two, marks) == marks
        opened.do(opened.fabric.unmirror, third.tap)
        opened.do(opened.fabric.unmirror, third.tap)
        here.sendto(b"unseen", there.getsockname())
        here.sendto(b"last", there.getsockname())
        assert copies(two, [b"unseen", b"last"]) == [b"unseen", b"last"]
        one.settimeout(0.1)
        with pytest.raises(TimeoutError):
            copies(one, [b"unseen", b"last"])


def test_mirrors_end_with_their_ends_and_survive_the_process(opened: OpenFabric, plugged: list[Guest]) -> None:
    first, second, third, fourth = plugged
    opened.do(opened.fabric.mirror, first.tap, third.tap)
    opened.do(opened.fabric.mirror, second.tap, fourth.tap)
    again = OpenFabric(TAG)
    traffic = again.fabric._traffic
    assert traffic is not None and traffic._mirroring is not None
    assert traffic._mirroring.sources == {third.tap: first.tap, fourth.tap: second.tap}
    again.do(again.fabric.remove_ports, [first.tap, fourth.tap])
    assert traffic._mirroring.sources == {}
    assert again.do(traffic._mirroring._chains) == []
    again.close()
    opened.do(opened.fabric.survey)
    with pytest.raises(FabricError, match=f"^{first.tap} cannot be mirrored to {third.tap}: "):
        opened.do(opened.fabric.mirror, first.tap, third.tap)


def test_rules_that_somebody_has_removed(opened: OpenFabric, plugged: list[Guest]) -> None:
    first, second = plugged[:2]
    opened.do(opened.fabric.mirror, first.tap, second.tap)
    assert opened.do(opened.fabric.survey).mirrors == {(first.tap, second.tap)}
    opened.do(opened.do(Nft).run, f"delete chain netdev {mirroring.TABLE} mb_in_{second.tap}")
    assert opened.do(opened.fabric.survey).mirrors == set(), "half a mirror is none"
    opened.do(opened.fabric.mirror, first.tap, second.tap)
    assert opened.do(opened.fabric.survey).mirrors == {(first.tap, second.tap)}
    opened.do(opened.do(Nft).run, "flush ruleset")
    assert opened.do(opened.fabric.survey).mirrors == set()
    assert opened.do(opened.fabric.addresses) == {}
    with first.raw_socket() as line:
        line.send(arp("10.9.0.77"))
    until(lambda: opened.do(opened.fabric.addresses).get(first.tap), Addresses(ip="10.9.0.77"))


def test_two_mirrors_in_a_ring_do_no_harm(opened: OpenFabric, plugged: list[Guest]) -> None:
    first, second, third, _ = plugged
    opened.do(opened.fabric.mirror, first.tap, third.tap)
    opened.do(opened.fabric.mirror, third.tap, first.tap)
    with first.udp() as here, second.udp() as there:
        for _ in range(10):
            here.sendto(b"x", there.getsockname())
            assert there.recv(100) == b"x"
