"""Ends of a pipe for the benchmarks, each a process: `pipe_load.py WHAT ENDPOINT-OR-BASE PIPE COUNT AMOUNT [SIZE]`.

    read BASE PIPE READERS MESSAGES        attached readers; ends when all together have so many messages
    tap ENDPOINT TOPIC SUBSCRIBERS BATCHES plain SUB sockets; ends when each has so many events
    write BASE PIPE WRITERS LINES SIZE     lines of SIZE bytes over all writers; ends when the readers have them
    publish ENDPOINT TOPIC READERS BATCHES SIZE   the reference: a bare PUB that sends events as the plumber's
    latency BASE PIPE 1 LINES              1,000 lines a second to a reader in the same process

Readers say `ready` when they take part, and in the end one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from pathlib import Path

import msgpack
import zmq

from bus.client import connect
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.envelope import Envelope
from bus.port import Port

BATCH = 65_536
PACE_S = 0.001


def say(**result: float) -> None:
    """The result."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def ready() -> None:
    """Whoever writes can begin."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def read(port: Port, pipe: str, readers: int, messages: int) -> None:
    """Attached readers on one connection."""
    count, begin = 0, 0.0
    done = asyncio.Event()

    async def one() -> None:
        nonlocal count, begin
        async with PipeReader(port, pipe) as reader:
            attached.release()
            while (delivery := await reader.next()) is not None:
                begin = begin or time.perf_counter()
                count += delivery.count
                if count >= messages:
                    done.set()

    attached = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one()) for _ in range(readers)]
    for _ in range(readers):
        await attached.acquire()
    ready()
    await done.wait()
    elapsed_s = time.perf_counter() - begin
    await asyncio.sleep(0.1)  # so that the last word of each reader gets out: writers wait for it
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    say(count=count, elapsed_s=elapsed_s)


def tap(endpoint: str, topic: str, subscribers: int, batches: int) -> None:
    """Subscribers on a socket each."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    poller = zmq.Poller()
    sockets = []
    for _ in range(subscribers):
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        poller.register(socket, zmq.POLLIN)
        sockets.append(socket)
    ready()
    left, begin = subscribers * batches, 0.0
    while left:
        for socket, _ in poller.poll():
            begin = begin or time.perf_counter()
            try:
                while True:
                    socket.recv_multipart(zmq.NOBLOCK, copy=False)
                    left -= 1
            except zmq.Again:
                continue
    say(count=subscribers * batches, elapsed_s=time.perf_counter() - begin)
    for socket in sockets:
        socket.close()
    context.term()


async def write(port: Port, pipe: str, writers: int, lines: int, size: int) -> None:
    """Writers on one connection."""
    line = b"x" * (size - 1) + b"\n"
    per_write = max(1, BATCH // size)

    async def one(share: int) -> None:
        async with PipeWriter(port, pipe) as writer:
            for first in range(0, share, per_write):
                await writer.write(line * min(per_write, share - first))

    await asyncio.gather(*(one(lines // writers) for _ in range(writers)))


def publish(endpoint: str, topic: str, subscribers: int, batches: int, size: int) -> None:
    """Events as large as the plumber's, from a bare socket."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.bind(endpoint)
    for _ in range(subscribers):
        socket.recv()
    head = msgpack.packb({"v": 1, **{name: 0 for name in Envelope.__struct_fields__ if name != "v"}})
    for number in range(batches):
        body = msgpack.packb({"type": "pipe.batch", "first_seq": number, "count": 1, "data": b"x" * size})
        socket.send_multipart([topic.encode(), head, body])
    socket.close(linger=-1)
    context.term()


async def latency(port: Port, pipe: str, lines: int) -> None:
    """From before the write to after the read."""
    times: list[float] = []

    async def take() -> None:
        async for delivery in reader:
            now = time.perf_counter()
            times.extend(now - float(line) for line in delivery.data.splitlines())

    async with PipeReader(port, pipe) as reader:
        taking = asyncio.create_task(take())
        async with PipeWriter(port, pipe) as writer:
            due = time.perf_counter()
            for _ in range(lines):
                due += PACE_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await writer.write(b"%.9f\n" % time.perf_counter())
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
    times.sort()
    say(count=len(times), p50_ms=times[len(times) // 2] * 1000, p99_ms=times[len(times) * 99 // 100] * 1000)


async def on_bus(what: str, base: Path, pipe: str, count: int, amount: int, size: int) -> None:
    """Those that speak with the plumber."""
    async with connect(base) as port:
        work: Awaitable[None]
        if what == "read":
            work = read(port, pipe, count, amount)
        elif what == "write":
            work = write(port, pipe, count, amount, size)
        else:
            work = latency(port, pipe, amount)
        await work


def main() -> None:
    """See the module."""
    what, where, pipe, *numbers = sys.argv[1:]
    count, amount, size = (*map(int, numbers), 0)[:3]
    if what == "tap":
        tap(where, pipe, count, amount)
    elif what == "publish":
        publish(where, pipe, count, amount, size)
    else:
        asyncio.run(on_bus(what, Path(where), pipe, count, amount, size))


if __name__ == "__main__":
    main()
