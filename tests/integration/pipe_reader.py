"""A reader of a pipe as a process of its own, to be stopped: `pipe_reader.py BASE PIPE [plain]`.

Says `ready`, then what it got when its standard input ends: lines, bytes lost by its own count, how it ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bus import codec
from bus.client import connect
from bus.errors import BusError
from bus.library.pipes import PipeReader
from bus.messages.pipe import PipeBatch
from bus.port import Port


async def attached(port: Port, pipe: str) -> None:
    """By credit."""
    count = 0
    try:
        async with PipeReader(port, pipe) as reader:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            async for delivery in reader:
                count += delivery.count
        sys.stdout.write(f"{count} ended\n")
    except BusError as error:
        sys.stdout.write(f"{count} {error.code}: {error}\n")


async def plain(port: Port, pipe: str) -> None:
    """By subscription, until a message says `end`."""
    count = lost = last = 0
    subscription = await port.subscribe(f"pipe/minimega/{pipe}/", capacity=1_000_000)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async for event in subscription:
        lost += event.envelope.topic_seq - last - 1 if last else 0
        last = event.envelope.topic_seq
        body = codec.decode_body(event.body)
        if isinstance(body, PipeBatch):
            count += body.count
            if body.data.endswith(b"end\n"):
                break
    sys.stdout.write(f"{count} lost {lost}\n")


async def main() -> None:
    """See the module."""
    async with connect(Path(sys.argv[1])) as port:
        await (plain if sys.argv[3:] else attached)(port, sys.argv[2])


if __name__ == "__main__":
    asyncio.run(main())
