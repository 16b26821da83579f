"""The same with minibus's own library, which repeats, keeps several requests under way and gives signs of life.

pipe_library.py BASE write PIPE | pipe_library.py BASE read PIPE | pipe_library.py BASE tap PIPE
"""

import asyncio
import sys

from bus import codec
from bus.client import connect
from bus.messages.pipe import PipeBatch, PipeEnded
from bus.pipes import PipeReader, PipeWriter


async def main() -> None:
    """See the module."""
    base, what, pipe = sys.argv[1:]
    async with connect(base) as port:
        if what == "write":
            async with PipeWriter(port, pipe) as writer:
                for line in sys.stdin.buffer:
                    await writer.write(line)
        elif what == "read":
            async with PipeReader(port, pipe) as reader:
                print("attached", file=sys.stderr, flush=True)
                async for delivery in reader:
                    sys.stdout.buffer.write(delivery.data)
                    sys.stdout.flush()
        elif what == "tap":
            subscription = await port.subscribe(f"pipe/minimega/{pipe}/")
            print("joined", file=sys.stderr, flush=True)
            async for event in subscription:
                match codec.decode_body(event.body):
                    case PipeBatch(first_seq=first, data=data):
                        for number, line in enumerate(data.split(b"\n")[:-1], start=first):
                            sys.stdout.buffer.write(f"{event.topic} {number}: ".encode() + line + b"\n")
                        sys.stdout.flush()
                    case PipeEnded():
                        break


asyncio.run(main())
