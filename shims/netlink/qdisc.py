"""Messages of rtnetlink(7) about queueing disciplines: tc-tbf(8) and tc-netem(8) at the root of an interface.

Written here and not by pyroute2, whose tbf knows neither a burst in bytes nor rates over 34 gbit.
"""

from __future__ import annotations

import struct
from typing import Final

from shims.netlink.netlink import NLM_F_CREATE, Message, attribute, text

# include/uapi/linux/netlink.h, rtnetlink.h, pkt_sched.h
NLM_F_REPLACE: Final = 0x100
RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
TC_H_ROOT: Final = 0xFFFFFFFF
TCA_KIND: Final = 1
TCA_OPTIONS: Final = 2
TCA_TBF_PARMS: Final = 1
TCA_TBF_RATE64: Final = 4
TCA_TBF_BURST: Final = 6
TCA_NETEM_CORRUPT: Final = 4
TCA_NETEM_RATE: Final = 6
TCA_NETEM_RATE64: Final = 8
TC_LINKLAYER_ETHERNET: Final = 1
"""The kernel computes times itself; without it a table of 256 times would have to come with the rate."""

MAX_32: Final = 0xFFFFFFFF
_TICK_NS: Final = 64
"""The unit of times in these messages (/proc/net/psched), the same in every kernel since 2009."""

_TCMSG: Final = struct.Struct("=BxxxiIII")
_RATE: Final = struct.Struct("=BBHhHI")
_NETEM: Final = struct.Struct("=6I")
_NO_RATE: Final = bytes(_RATE.size)


def ticks(time_us: float) -> int:
    """As these messages tell times; the longest they can is 274 seconds."""
    return min(round(time_us * 1000 / _TICK_NS), MAX_32)


def probability(percent: float) -> int:
    """As these messages tell it: 2^32 - 1 is certainty."""
    return round(MAX_32 * percent / 100)


def set_tbf(index: int, *, rate_bps: int, burst_bytes: int, limit_bytes: int) -> Message:
    """A rate in bits a second: `burst_bytes` may come at once, `limit_bytes` wait, what is more is lost."""
    rate = rate_bps // 8
    parameters = _RATE.pack(0, TC_LINKLAYER_ETHERNET, 0, -1, 0, min(rate, MAX_32)) + _NO_RATE
    parameters += struct.pack("=III", min(limit_bytes, MAX_32), ticks(burst_bytes * 8e6 / rate_bps), 0)
    options = attribute(TCA_TBF_PARMS, parameters) + attribute(TCA_TBF_BURST, struct.pack("=I", burst_bytes))
    if rate > MAX_32:
        options += attribute(TCA_TBF_RATE64, struct.pack("=Q", rate))
    return _replace_root(index, "tbf", options)


def set_netem(
    index: int,
    *,
    limit_packets: int,
    delay_us: int = 0,
    jitter_us: int = 0,
    loss_percent: float = 0.0,
    corrupt_percent: float = 0.0,
    rate_bps: int = 0,
) -> Message:
    """The faults of a bad line, and a rate; `limit_packets` are on their way, what is more is lost.

    Corruption and rate are always told: what is left out stays as it was when the discipline is changed.
    """
    options = _NETEM.pack(ticks(delay_us), limit_packets, probability(loss_percent), 0, 0, ticks(jitter_us))
    options += attribute(TCA_NETEM_CORRUPT, struct.pack("=II", probability(corrupt_percent), 0))
    rate = rate_bps // 8
    if rate > MAX_32:
        options += attribute(TCA_NETEM_RATE64, struct.pack("=Q", rate))
    options += attribute(TCA_NETEM_RATE, struct.pack("=IiIi", min(rate, MAX_32), 0, 0, 0))
    return _replace_root(index, "netem", options)


def delete_root(index: int) -> Message:
    """Back to none; ENOENT or EINVAL if there is none."""
    return Message(RTM_DELQDISC, _TCMSG.pack(0, index, 0, TC_H_ROOT, 0))


def _replace_root(index: int, kind: str, options: bytes) -> Message:
    """Of another kind than the present one: takes its place at once; of the same: changed, and what waits stays."""
    head = _TCMSG.pack(0, index, 0, TC_H_ROOT, 0)
    payload = head + text(TCA_KIND, kind) + attribute(TCA_OPTIONS, options)
    return Message(RTM_NEWQDISC, payload, NLM_F_CREATE | NLM_F_REPLACE)
