"""Which discipline constraints become, with which figures, and the bytes that the kernel reads."""

from __future__ import annotations

import struct

import pytest

from bus.messages.network import Shaping
from shims.netlink import qdisc
from shims.netlink.netlink import Message, attributes
from shims.network import shaping
from shims.network.shaping import Disciplines, burst_bytes, lacking, message, packets_on_their_way, queue_bytes

ALL = Disciplines(netem=True, tbf=True)
NO_NETEM = Disciplines(netem=False, tbf=True)
NO_TBF = Disciplines(netem=True, tbf=False)
NOTHING = Disciplines(netem=False, tbf=False)
HEAD = 20
"""Bytes of a tcmsg."""


def parts(one: Message) -> tuple[str, dict[int, bytes]]:
    """Kind and options of a message."""
    found = dict(attributes(one.payload, HEAD))
    kind = found[qdisc.TCA_KIND].rstrip(b"\0").decode()
    skipped = 24 if kind == "netem" else 0
    return kind, dict(attributes(found[qdisc.TCA_OPTIONS], skipped))


@pytest.mark.parametrize(
    ("rate_bps", "burst"),
    [(1000, 3200), (64_000, 3200), (1_000_000, 3200), (10_000_000, 12_500), (1_000_000_000, 1_250_000)],
)
def test_a_burst_has_room_for_frames(rate_bps: int, burst: int) -> None:
    assert burst_bytes(rate_bps) == burst


@pytest.mark.parametrize(
    ("rate_bps", "queue"), [(1000, 16_000), (1_000_000, 16_000), (100_000_000, 625_000), (10**11, 32 << 20)]
)
def test_a_queue_is_short_but_takes_the_begin_of_a_connection(rate_bps: int, queue: int) -> None:
    assert queue_bytes(rate_bps) == queue


@pytest.mark.parametrize(
    ("wanted", "packets"),
    [
        (Shaping(loss_percent=1), 1000),
        (Shaping(delay_us=100_000), 11_000),
        (Shaping(delay_us=240_000_000), 20_000),
        (Shaping(delay_us=100_000, rate_bps=1_000_000), 37),
        (Shaping(loss_percent=1, rate_bps=64_000), 20),
        (Shaping(delay_us=240_000_000, rate_bps=10**11), 20_000),
    ],
)
def test_packets_on_their_way_are_bounded(wanted: Shaping, packets: int) -> None:
    assert packets_on_their_way(wanted) == packets


@pytest.mark.parametrize(
    ("wanted", "disciplines", "kind"),
    [
        (Shaping(rate_bps=8000), ALL, "tbf"),
        (Shaping(rate_bps=8000), NO_NETEM, "tbf"),
        (Shaping(rate_bps=8000), NO_TBF, "netem"),
        (Shaping(rate_bps=8000, delay_us=1), ALL, "netem"),
        (Shaping(jitter_us=1), ALL, "netem"),
        (Shaping(corrupt_percent=1), NO_TBF, "netem"),
    ],
)
def test_which_discipline(wanted: Shaping, disciplines: Disciplines, kind: str) -> None:
    assert lacking(wanted, disciplines) == []
    assert parts(message(1, wanted, disciplines))[0] == kind


@pytest.mark.parametrize(
    ("wanted", "disciplines", "sentences"),
    [
        (Shaping(delay_us=1), NO_NETEM, [shaping.NETEM_LACKS]),
        (Shaping(rate_bps=8000, loss_percent=1), NO_NETEM, [shaping.NETEM_LACKS]),
        (Shaping(rate_bps=8000), NOTHING, [shaping.RATE_LACKS]),
        (Shaping(rate_bps=8000, loss_percent=1), NOTHING, [shaping.NETEM_LACKS, shaping.RATE_LACKS]),
        (Shaping(jitter_us=2_000_001), ALL, ["a jitter is at most 2 seconds"]),
        (Shaping(), NOTHING, []),
    ],
)
def test_what_is_lacking_is_said(wanted: Shaping, disciplines: Disciplines, sentences: list[str]) -> None:
    assert lacking(wanted, disciplines) == sentences


def test_none_is_the_removal_of_the_root() -> None:
    one = message(7, Shaping(), ALL)
    assert (one.kind, one.flags) == (qdisc.RTM_DELQDISC, 0)
    assert struct.unpack("=BxxxiIII", one.payload) == (0, 7, 0, qdisc.TC_H_ROOT, 0)


def test_the_bytes_of_tbf() -> None:
    one = qdisc.set_tbf(3, rate_bps=1_000_000, burst_bytes=3200, limit_bytes=19_200)
    _, options = parts(one)
    assert one.flags == 0x500  # create and replace
    parameters = struct.unpack("=BBHhHI BBHhHI III", options[qdisc.TCA_TBF_PARMS])
    assert parameters == (0, 1, 0, -1, 0, 125_000, 0, 0, 0, 0, 0, 0, 19_200, 25_600_000 // 64, 0)
    assert options[qdisc.TCA_TBF_BURST] == struct.pack("=I", 3200)
    assert qdisc.TCA_TBF_RATE64 not in options


def test_the_bytes_of_netem() -> None:
    one = qdisc.set_netem(
        3, limit_packets=9, delay_us=100_000, jitter_us=64, loss_percent=50, corrupt_percent=100, rate_bps=8000
    )
    head = dict(attributes(one.payload, HEAD))[qdisc.TCA_OPTIONS]
    assert struct.unpack_from("=6I", head) == (1_562_500, 9, 0x80000000, 0, 0, 1000)
    _, options = parts(one)
    assert options[qdisc.TCA_NETEM_CORRUPT] == struct.pack("=II", 0xFFFFFFFF, 0)
    assert options[qdisc.TCA_NETEM_RATE] == struct.pack("=IiIi", 1000, 0, 0, 0)


def test_what_netem_is_not_told_would_stay_as_it_was() -> None:
    _, options = parts(qdisc.set_netem(3, limit_packets=9, delay_us=1))
    assert options[qdisc.TCA_NETEM_CORRUPT] == bytes(8)
    assert options[qdisc.TCA_NETEM_RATE] == bytes(16)


@pytest.mark.parametrize("rate_bps", [34_359_738_368, 100_000_000_000])
def test_rates_of_more_than_32_bits(rate_bps: int) -> None:
    wanted = struct.pack("=Q", rate_bps // 8)
    _, tbf = parts(qdisc.set_tbf(1, rate_bps=rate_bps, burst_bytes=1, limit_bytes=1))
    _, netem = parts(qdisc.set_netem(1, rate_bps=rate_bps, limit_packets=1))
    assert (tbf[qdisc.TCA_TBF_RATE64], netem[qdisc.TCA_NETEM_RATE64]) == (wanted, wanted)


def test_times_have_an_end() -> None:
    assert qdisc.ticks(274_000_000) < qdisc.MAX_32
    assert qdisc.ticks(1e12) == qdisc.MAX_32
