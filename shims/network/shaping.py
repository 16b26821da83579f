"""Constraints of what a guest receives: one queueing discipline on the end in the fabric.

netem does everything at once where the kernel has it; a rate alone is tbf's, which also keeps the queue short. The
discipline belongs to the device, so it stays when a port is moved.
"""

from __future__ import annotations

import errno
from typing import Final, NamedTuple

from bus.messages.network import MAX_JITTER_US, Shaping
from shims.netlink import links, qdisc
from shims.netlink.netlink import Message, Netlink, NetlinkError
from shims.network.base import FabricError

MTU_BYTES: Final = 1600
"""A frame of the usual size with all its headers, rounded up."""
BURST_S: Final = 0.01
"""tbf: how much may come at once, in time at the full rate."""
QUEUE_S: Final = 0.05
"""How long a packet waits for its turn before it is lost, at the full rate."""
QUEUE_FRAMES: Final = 10
"""But so many frames always have room: a TCP connection begins with as many."""
MAX_QUEUE_BYTES: Final = 32 << 20
MIN_PACKETS: Final = 1000
MAX_PACKETS: Final = 20_000
"""netem keeps what it delays in the memory of the host, whatever guests send: this is the bound."""
USUAL_BYTES: Final = 500
"""Of a packet, to turn a rate into packets."""
NETEM_LACKS: Final = (
    "this kernel cannot delay, lose or corrupt packets, because it has no sch_netem (`modprobe sch_netem`)"
)
RATE_LACKS: Final = "this kernel cannot limit rates, because it has neither sch_tbf nor sch_netem (`modprobe sch_tbf`)"

_NOTHING_THERE: Final = (errno.ENOENT, errno.EINVAL)
"""What the removal of a discipline is answered with if there is none."""
_LOOPBACK: Final = 1
"""Its index in every network namespace; in the fabric nothing else uses it."""


class Disciplines(NamedTuple):
    """What this kernel has."""

    netem: bool
    tbf: bool


def probe(netlink: Netlink) -> Disciplines:
    """Try each once."""
    tries = (
        qdisc.set_netem(_LOOPBACK, limit_packets=1),
        qdisc.set_tbf(_LOOPBACK, rate_bps=8_000_000, burst_bytes=MTU_BYTES, limit_bytes=MTU_BYTES),
    )
    netem, tbf = (error is None for error in netlink.batch(tries))
    netlink.batch([qdisc.delete_root(_LOOPBACK)])
    return Disciplines(netem, tbf)


def lacking(shaping: Shaping, disciplines: Disciplines) -> list[str]:
    """A sentence for each thing that this kernel cannot do, or that no kernel should be asked for."""
    lacks = []
    if shaping.jitter_us > MAX_JITTER_US:
        lacks.append(f"a jitter is at most {MAX_JITTER_US // 1_000_000} seconds")
    if _is_faulty(shaping) and not disciplines.netem:
        lacks.append(NETEM_LACKS)
    if shaping.rate_bps and not (disciplines.netem or disciplines.tbf):
        lacks.append(RATE_LACKS)
    return lacks


def message(index: int, shaping: Shaping, disciplines: Disciplines) -> Message:
    """What puts these constraints, of which nothing must be lacking, in place of the present ones."""
    if _is_faulty(shaping) or (shaping.rate_bps and not disciplines.tbf):
        return qdisc.set_netem(
            index,
            limit_packets=packets_on_their_way(shaping),
            delay_us=shaping.delay_us,
            jitter_us=shaping.jitter_us,
            loss_percent=shaping.loss_percent,
            corrupt_percent=shaping.corrupt_percent,
            rate_bps=shaping.rate_bps,
        )
    if shaping.rate_bps:
        burst = burst_bytes(shaping.rate_bps)
        limit = burst + queue_bytes(shaping.rate_bps)
        return qdisc.set_tbf(index, rate_bps=shaping.rate_bps, burst_bytes=burst, limit_bytes=limit)
    return qdisc.delete_root(index)


def shape(netlink: Netlink, name: str, shaping: Shaping, disciplines: Disciplines) -> list[str]:
    """See `Fabric.shape`."""
    if lacks := lacking(shaping, disciplines):
        raise FabricError(lacks[0])
    try:
        index = links.named(netlink, name).ifindex
        netlink.ask(message(index, shaping, disciplines))
    except NetlinkError as error:
        if error.errno == errno.ENODEV or (error.errno in _NOTHING_THERE and shaping == Shaping()):
            return []
        raise FabricError(f"the kernel refuses these constraints for {name}: {error.strerror}") from None
    return []


def burst_bytes(rate_bps: int) -> int:
    """Two frames at least, or none would ever pass."""
    return max(int(rate_bps / 8 * BURST_S), 2 * MTU_BYTES)


def queue_bytes(rate_bps: int) -> int:
    """How much waits before a tbf."""
    return min(max(int(rate_bps / 8 * QUEUE_S), QUEUE_FRAMES * MTU_BYTES), MAX_QUEUE_BYTES)


def packets_on_their_way(shaping: Shaping) -> int:
    """How many packets netem holds: those that it delays, and a queue of those that wait for their turn."""
    delay_s = (shaping.delay_us + shaping.jitter_us) / 1e6
    if shaping.rate_bps:
        wanted = int(shaping.rate_bps / 8 / USUAL_BYTES * (delay_s + QUEUE_S))
        return min(max(wanted, 2 * QUEUE_FRAMES), MAX_PACKETS)
    return min(MIN_PACKETS + int(delay_s * 100_000), MAX_PACKETS)


def _is_faulty(shaping: Shaping) -> bool:
    """Whether it takes netem."""
    return bool(shaping.delay_us or shaping.jitter_us or shaping.loss_percent or shaping.corrupt_percent)
