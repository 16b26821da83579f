"""Delay, loss and corruption, which not every kernel has; VLANs on one bridge, whichever way that is done."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from bus.messages.network import Shaping
from tests.integration.guest_ends import Guest, OpenFabric, guests

QUIET_S = 1.0
"""Nothing more comes when nothing has come for so long."""
LOOSE_S = 2.0
"""How much later than it should anything may come on an emulated machine."""


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenFabric]:
    one = OpenFabric("kern")
    yield one
    one.do(one.fabric.destroy)
    one.close()


@pytest.fixture(scope="module")
def pair(opened: OpenFabric) -> Iterator[list[Guest]]:
    """Two guests on one segment, up, with addresses."""
    with guests(2) as ends:
        assert opened.do(opened.fabric.add_ports, [guest.port() for guest in ends]) == {}
        for guest in ends:
            guest.bring_up()
        round_trip_s(*ends)  # the first one has to ask for addresses
        yield ends


@pytest.fixture(autouse=True)
def unshaped(opened: OpenFabric, pair: list[Guest]) -> Iterator[None]:
    yield
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping()) == []


def round_trip_s(first: Guest, second: Guest, *, size: int = 10) -> float:
    """From the first to the second, which is the way that is shaped, and back."""
    with first.udp() as here, second.udp() as there:
        begun_s = time.monotonic()
        here.sendto(bytes(size), there.getsockname())
        data, sender = there.recvfrom(65536)
        there.sendto(data, sender)
        here.recv(65536)
        return time.monotonic() - begun_s


def arrived(first: Guest, second: Guest, *, count: int, size: int = 8) -> list[int]:
    """Which of so many packets come to the second, by number."""
    with first.udp() as here, second.udp() as there:
        for number in range(count):
            here.sendto(b"%08d" % number + bytes(size - 8), there.getsockname())
        there.settimeout(QUIET_S)
        found: list[int] = []
        try:
            while True:
                found.append(int(there.recv(65536)[:8]))
        except TimeoutError:
            return found


def test_this_kernel_can(opened: OpenFabric) -> None:
    can = opened.abilities
    assert (can.netem, can.tbf, can.learning, can.mirroring, can.lacks) == (True, True, True, True, ())
    assert can.vlan_filtering == (os.environ.get("MINIBUS_FABRIC") != "plain")


def test_a_delay(opened: OpenFabric, pair: list[Guest]) -> None:
    before_s = min(round_trip_s(*pair) for _ in range(3))
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(delay_us=100_000)) == []
    delayed_s = min(round_trip_s(*pair) for _ in range(3))
    assert 0.1 <= delayed_s < before_s + 0.1 + LOOSE_S
    opened.do(opened.fabric.shape, pair[1].tap, Shaping())
    assert min(round_trip_s(*pair) for _ in range(3)) < 0.1


def test_a_delay_that_varies(opened: OpenFabric, pair: list[Guest]) -> None:
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(delay_us=200_000, jitter_us=200_000)) == []
    took_s = [round_trip_s(*pair) for _ in range(10)]
    assert max(took_s) - min(took_s) > 0.05


def test_loss(opened: OpenFabric, pair: list[Guest]) -> None:
    assert len(arrived(*pair, count=100)) == 100
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(loss_percent=50.0)) == []
    assert 50 < len(arrived(*pair, count=200)) < 150
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(loss_percent=100.0)) == []
    assert arrived(*pair, count=20) == []


def test_corruption(opened: OpenFabric, pair: list[Guest]) -> None:
    """What is corrupted is thrown away by the guest's kernel, which checks sums."""
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(corrupt_percent=100.0)) == []
    assert len(arrived(*pair, count=50)) < 25
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(delay_us=1)) == []
    for guest in pair:  # ARP has no sums: they may have learned addresses that nobody has
        guest.run("ip", "neigh", "flush", "dev", "veth0")
    assert len(arrived(*pair, count=50)) == 50, "the corruption goes on although it was taken away"


def test_rate_and_delay_together(opened: OpenFabric, pair: list[Guest]) -> None:
    wanted = Shaping(rate_bps=80_000, delay_us=100_000)
    assert opened.do(opened.fabric.shape, pair[1].tap, wanted) == []
    assert round_trip_s(*pair, size=958) >= 0.19  # 1000 bytes with their headers take 0.1 s
    begun_s = time.monotonic()
    assert len(arrived(*pair, count=15, size=958)) == 15
    assert time.monotonic() - begun_s >= 1.5 + QUIET_S
    assert opened.do(opened.fabric.shape, pair[1].tap, Shaping(delay_us=100_000)) == []
    assert round_trip_s(*pair, size=958) < 0.19 + LOOSE_S, "the rate goes on although it was taken away"


def test_from_one_discipline_to_the_other(opened: OpenFabric, pair: list[Guest]) -> None:
    """tbf, netem, tbf: each takes the place of the one before."""
    for wanted, least_s in ((Shaping(rate_bps=1_000_000), 0.0), (Shaping(delay_us=300_000), 0.3)) * 2:
        assert opened.do(opened.fabric.shape, pair[1].tap, wanted) == []
        assert least_s <= min(round_trip_s(*pair) for _ in range(3)) < least_s + 0.3
