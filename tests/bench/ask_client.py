"""Measure asks through a running broker: `ask_client.py BASE` prints one JSON object with the times of one caller.

A process of its own, so that the one that measures memory never imports zmq.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from bus.client import connect
from bus.messages.control import Ping

WARM_UP = 200
COUNT = 2000
TIMEOUT_S = 5.0


async def measure(base: Path) -> list[float]:
    """Seconds of each ask; the caller waits for each answer before the next."""
    times = []
    async with connect(base) as connection:
        for _ in range(WARM_UP + COUNT):
            begin = time.perf_counter()
            await connection.ask("vm", Ping(), timeout_s=TIMEOUT_S)
            times.append(time.perf_counter() - begin)
    return times[WARM_UP:]


def main() -> None:
    """Entry point; the base directory is the only argument."""
    times = sorted(asyncio.run(measure(Path(sys.argv[1]))))
    result = {"median_us": statistics.median(times) * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6}
    sys.stdout.write(json.dumps(result | {"count": len(times)}) + "\n")


if __name__ == "__main__":
    main()
