"""Clients for the benchmark of the gateway, each a process: `gateway_client.py WHAT BASE KEYFILE`.

    ask     2,000 asks, one after the other
    paced   asks at a steady pace for some seconds, over TCP and on the host by turns
    events  small events of a pipe that is written on the host, to a subscriber over TCP
    bytes   the same with large ones

Each prints one JSON object. No event is lost: the writer is never more ahead than the gateway keeps for one client.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from bus.client import connect
from bus.library.pipes import PipeWriter
from bus.messages.control import Ping
from bus.port import Port
from bus.remote import remote, remote_context

WARM_UP = 200
COUNT = 2000
PACED_S = 8.0
PACE_S = 0.01
TIMEOUT_S = 10.0
EVENTS, EVENT_BYTES = 20_000, 95
LARGE, LARGE_BYTES = 1_500, 65_536
AHEAD = 500


async def asked_s(port: Port) -> float:
    """How long one ask took."""
    begin = time.perf_counter()
    await port.ask("vm", Ping(), timeout_s=TIMEOUT_S)
    return time.perf_counter() - begin


def figures(times: list[float], prefix: str = "") -> dict[str, float]:
    """Median and 99th percentile."""
    ordered = sorted(times)
    return {
        f"{prefix}median_us": statistics.median(ordered) * 1e6,
        f"{prefix}p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
        f"{prefix}count": len(ordered),
    }


async def ask(far: Port, _near: Port) -> dict[str, float]:
    """The caller waits for each answer before the next."""
    times = [await asked_s(far) for _ in range(WARM_UP + COUNT)]
    return figures(times[WARM_UP:])


async def paced(far: Port, near: Port) -> dict[str, float]:
    """Each is asked when its time has come, and what it waits for the one before counts."""
    times: dict[Port, list[float]] = {far: [], near: []}
    begin = time.perf_counter()
    for number in range(int(PACED_S / PACE_S)):
        due = begin + number * PACE_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        for port in (far, near):
            start = time.perf_counter()
            await port.ask("vm", Ping(), timeout_s=TIMEOUT_S)
            times[port].append(time.perf_counter() - start)
    return figures(times[far], "far_") | figures(times[near], "near_")


async def events(far: Port, near: Port) -> dict[str, float]:
    """Events a second."""
    return await flow(far, near, EVENTS, EVENT_BYTES)


async def large(far: Port, near: Port) -> dict[str, float]:
    """Bytes a second."""
    return await flow(far, near, LARGE, LARGE_BYTES)


async def flow(far: Port, near: Port, count: int, size: int) -> dict[str, float]:
    """One writer on the host, one subscriber elsewhere."""
    line = b"x" * (size - 1) + b"\n"
    seen = 0
    room = asyncio.Semaphore(AHEAD)
    subscription = await far.subscribe("pipe/minimega/flow/", capacity=2 * AHEAD)

    async def read() -> None:
        nonlocal seen
        while seen < count:
            await subscription.next()
            seen += 1
            room.release()

    reading = asyncio.create_task(read())
    begin = time.perf_counter()
    async with PipeWriter(near, "flow") as writer:
        for _ in range(count):
            await room.acquire()
            await writer.write(line)
        await asyncio.wait_for(reading, 6 * TIMEOUT_S)
    elapsed_s = time.perf_counter() - begin
    return {"events_s": count / elapsed_s, "mib_s": count * size / elapsed_s / 2**20}


async def main() -> None:
    """Entry point."""
    what, base, file = sys.argv[1:]
    far = Port(remote_context(), remote=remote("", file))
    await far.open()
    try:
        async with connect(Path(base)) as near:
            kinds = {"ask": ask, "paced": paced, "events": events, "bytes": large}
            sys.stdout.write(json.dumps(await kinds[what](far, near)) + "\n")
    finally:
        await far.close()


if __name__ == "__main__":
    asyncio.run(main())
