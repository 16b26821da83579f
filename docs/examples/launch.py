"""Starts containers and waits until they run.

launch.py BASE FILESYSTEM COUNT
"""

import asyncio
import sys

import bus
from bus.messages.vm import VmStarted


async def main() -> None:
    """See the module."""
    if len(sys.argv) != 4 or not sys.argv[3].isdecimal():
        sys.exit(__doc__)
    base, filesystem, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    async with bus.connect(base, namespace="launched") as client:
        # Subscribe first: from here on no start is missed, however quick it is.
        async with client.subscribe("vm/launched/") as events:
            for line in (
                f"vm config filesystem {filesystem}",
                "vm config memory 32",
                f"vm launch container web[1-{count}]",
                "vm start all",
            ):
                await client.rows(line)  # raises bus.CommandFailed, with a sentence, if a line fails
            running: set[str] = set()
            while len(running) < count:
                match await events.next(timeout_s=60.0):
                    case bus.Received(message=VmStarted(name=name)):
                        print(f"{name} runs")
                        running.add(name)
                    case bus.Lost():  # this program or the bus was away for a moment: ask for the state
                        rows = await client.rows("vm info")
                        running = {row["name"] for row in rows if row["state"] == "RUNNING"}
                    case None:
                        sys.exit(f"only {len(running)} of {count} run after a minute")
        print(f"{count} containers run")


try:
    asyncio.run(main())
except bus.BusError as error:
    sys.exit(f"launch: {error}")
