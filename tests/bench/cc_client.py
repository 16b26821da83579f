"""Measure commands in guests, over the bus: `cc_client.py BASE GUESTS ROUNDS` prints one JSON object.

A process of its own, so that the one that measures memory never imports zmq. A round is one program posted for all
guests; each guest's time ends when the event arrives that it is done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from bus.client import connect
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.cc import CommandKind, CommandSpec, PostCommand
from bus.port import Subscription

TIMEOUT_S = 60.0
PROGRAM = CommandSpec(kind=CommandKind.EXEC, argv=("/bin/true",))


async def ends(events: Subscription, guests: int) -> dict[str, list[float]]:
    """When each guest was done, by id of the command; ends when so many are of one command."""
    found: dict[str, list[float]] = {}
    while True:
        *_, number, what, _ = (await events.next()).topic.split("/")
        if what == "done":
            found.setdefault(number, []).append(time.perf_counter())
            if len(found[number]) >= guests:
                return found


async def measure(base: Path, guests: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each guest in each round, and of the last guest of each round."""
    each, last = [], []
    async with connect(base) as port:
        events = await port.subscribe(f"cc/{DEFAULT_NAMESPACE}/", capacity=100_000)
        for _ in range(rounds):
            begin = time.perf_counter()
            request = PostCommand(command=PROGRAM)
            posted = await port.ask("cc", request, timeout_s=TIMEOUT_S, namespace=DEFAULT_NAMESPACE)
            async with asyncio.timeout(TIMEOUT_S):
                found = await ends(events, guests)
            times = [end - begin for end in found[str(posted.id)]]
            each += times
            last.append(max(times))
    return each, last


def main() -> None:
    """Entry point."""
    each, last = asyncio.run(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    sys.stdout.write(json.dumps({"each_s": each, "last_s": last}) + "\n")


if __name__ == "__main__":
    main()
