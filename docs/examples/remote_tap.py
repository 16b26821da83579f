"""Prints what flows through a pipe of another host, and disturbs nobody there.

remote_tap.py KEYFILE NAMESPACE PIPE, with a file that `minibus key make NAME --role tap --topic pipe/NAMESPACE/` wrote
"""

import asyncio
import sys

import bus
from bus.messages.pipe import PipeBatch, PipeEnded
from bus.topics import topic


async def main() -> None:
    """See the module."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    key, namespace, pipe = sys.argv[1:]
    async with bus.connect(key=key) as client, client.subscribe(topic("pipe", namespace, pipe)) as events:
        print("tapping", file=sys.stderr, flush=True)
        async for event in events:
            match event:
                case bus.Received(message=PipeBatch(data=data)):
                    sys.stdout.buffer.write(data)
                    sys.stdout.flush()
                case bus.Received(message=PipeEnded()):
                    break
                case bus.Lost(count=count):
                    print(f"missed {count or 'perhaps some'} batches", file=sys.stderr, flush=True)


try:
    asyncio.run(main())
except bus.BusError as error:
    sys.exit(f"remote_tap: {error}")
