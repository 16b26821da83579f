"""How much traffic there is, and what is said of interfaces, in no time for a thousand of them."""

from __future__ import annotations

import time

import pytest

from actors.network import views
from actors.network.rates import KEPT, MIB, Rate, Rates, Sample, together, weighted
from actors.network.table import Guest, NetworkTable, Nic, Tap
from bus import codec
from bus.messages.network import GuestRates, Interface, Shaping
from bus.messages.network import Rates as RatesReply
from bus.messages.vlan import DISCONNECTED
from shims.network.base import Addresses, Counters, Segment


def samples(*mib: float, every_s: float = 5.0) -> list[Sample]:
    """Of a port that has received so many MiB by then, and sent half as much."""
    return [Sample(number * every_s, int(one * MIB), int(one * MIB / 2)) for number, one in enumerate(mib)]


@pytest.mark.parametrize(
    ("seen", "rx_mbps"),
    [
        ([], 0.0),
        (samples(7), 0.0),
        (samples(0, 10), 2.0),
        (samples(0, 0, 15), 2.0),  # (1 * 0 + 2 * 3) / 3: the newest counts most
        (samples(0, 15, 15), 1.0),
        (samples(100, 5, 10), 2 / 3),  # the counter began anew
        (samples(0, 10, 20, every_s=1), 10.0),
        (samples(0, 10, every_s=0), 0.0),
    ],
)
def test_the_average(seen: list[Sample], rx_mbps: float) -> None:
    assert weighted(seen) == pytest.approx((rx_mbps, rx_mbps / 2))


def test_only_the_last_samples_count_and_ports_that_are_gone_are_forgotten() -> None:
    rates = Rates()
    for number in range(KEPT + 5):
        traffic = min(number, 5) * MIB
        rates.add(float(number), {"a": Counters(traffic, 0), "idle": Counters(7, 7)})
        if number == 5:
            assert rates.now == {"a": Rate(1.0, 0.0)}
    assert rates.now == {}
    rates.add(99.0, {"b": Counters(9, 9)})
    rates.add(100.0, {"b": Counters(9 + MIB, 9)})
    assert rates.now == {"b": Rate(1.0, 0.0)}
    assert together([Rate(1, 2), Rate(3, 4)]) == Rate(4, 6)


def nic(number: int, **fields: object) -> Nic:
    """An interface."""
    given = {"tap": f"mega_tap{number}", "bridge": "mega_bridge", "vlan": 101, "mac": "m", "is_up": True, **fields}
    return Nic(**given)  # type: ignore[arg-type]


def test_interfaces_are_joined_with_what_was_seen_of_them() -> None:
    up = nic(0, shaping=Shaping(rate_bps=1000))
    down = nic(1, bridge="", vlan=DISCONNECTED, is_up=False)
    table = NetworkTable(
        guests={
            2: Guest(vm_id=2, name="b", namespace="other", nics=[nic(2)]),
            1: Guest(vm_id=1, name="a", namespace="exp", nics=[up, down]),
        }
    )
    seen = dict.fromkeys(("mega_tap0", "mega_tap1"), Addresses("10.0.0.1", "fd00::1"))
    (found,) = views.interfaces(table, "exp", {"mega_tap0": Rate(1, 2)}, seen).guests
    assert (found.vm_id, found.name) == (1, "a")
    assert found.interfaces == (
        Interface(
            tap="mega_tap0",
            bridge="mega_bridge",
            vlan=101,
            mac="m",
            ip="10.0.0.1",
            ip6="fd00::1",
            shaping=Shaping(rate_bps=1000),
            rx_mbps=1,
            tx_mbps=2,
            is_up=True,
        ),
        Interface(tap="mega_tap1", vlan=DISCONNECTED, mac="m"),
    )


def test_rates_of_a_vm_are_those_of_its_interfaces_together() -> None:
    table = NetworkTable(
        guests={
            1: Guest(vm_id=1, name="a", namespace="x", nics=[nic(0), nic(1)]),
            2: Guest(vm_id=2, name="b", namespace="y", nics=[nic(2)]),
        },
        taps={"t": Tap(name="t", namespace="x", segment=Segment("mega_bridge", 1))},
    )
    rates = {"mega_tap0": Rate(1, 2), "mega_tap1": Rate(3, 4), "t": Rate(10, 20)}
    expected = (GuestRates(vm_id=1, rx_mbps=4, tx_mbps=6),)
    assert views.all_rates(table, rates) == RatesReply(vms=expected, rx_mbps=14, tx_mbps=26)


def test_a_thousand_guests_are_answered_at_once() -> None:
    table = NetworkTable(
        guests={
            number: Guest(vm_id=number, name=f"vm{number}", namespace="x", nics=[nic(number)]) for number in range(1000)
        }
    )
    rates = {f"mega_tap{number}": Rate(1, 2) for number in range(1000)}
    seen = {f"mega_tap{number}": Addresses("10.0.0.1") for number in range(1000)}
    best_s = 1.0
    for _ in range(5):
        began = time.process_time()
        codec.encode(views.interfaces(table, "x", rates, seen))
        codec.encode(views.all_rates(table, rates))
        best_s = min(best_s, time.process_time() - began)
    assert best_s < 0.05
