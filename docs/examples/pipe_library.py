"""The same with minibus's own library, which repeats, keeps several requests under way and gives signs of life.

pipe_library.py BASE write PIPE | pipe_library.py BASE read PIPE | pipe_library.py BASE tap PIPE
"""

import asyncio
import sys

import bus
from bus.messages.pipe import PipeBatch, PipeEnded


async def main() -> None:
    """See the module."""
    if len(sys.argv) != 4 or sys.argv[2] not in ("write", "read", "tap"):
        sys.exit(__doc__)
    base, what, pipe = sys.argv[1:]
    async with bus.connect(base) as client:
        if what == "write":
            async with client.write_pipe(pipe) as writer:
                for line in sys.stdin.buffer:
                    await writer.write(line)
        elif what == "read":
            async with client.read_pipe(pipe) as reader:
                print("attached", file=sys.stderr, flush=True)
                async for delivery in reader:  # `reader.messages()` gives each line by itself
                    sys.stdout.buffer.write(delivery.data)
                    sys.stdout.flush()
        else:
            async with client.subscribe(f"pipe/minimega/{pipe}/") as events:
                print("joined", file=sys.stderr, flush=True)
                async for event in events:
                    match event:
                        case bus.Received(topic=topic, message=PipeBatch(first_seq=first, data=data)):
                            for number, line in enumerate(data.split(b"\n")[:-1], start=first):
                                sys.stdout.buffer.write(f"{topic} {number}: ".encode() + line + b"\n")
                            sys.stdout.flush()
                        case bus.Received(message=PipeEnded()):
                            break
                        case bus.Lost(count=count):
                            print(f"lost {count}", file=sys.stderr, flush=True)


try:
    asyncio.run(main())
except bus.BusError as error:
    sys.exit(f"pipe_library: {error}")
