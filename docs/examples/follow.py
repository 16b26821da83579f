"""Prints what happens to the VMs of a namespace until it is destroyed, and says so whenever something was missed.

follow.py BASE NAMESPACE
"""

import sys
import time

import bus


def main() -> None:
    """See the module."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    base, namespace = sys.argv[1:]
    topics = (f"vm/{namespace}/", f"namespace/{namespace}/destroyed/")
    with bus.connect_sync(base) as client, client.subscribe(*topics) as events:
        for row in client.rows("vm info", namespace=namespace):
            print(f"{row['name']} is {row['state']}")
        print("following", flush=True)
        for event in events:
            match event:
                case bus.Lost(count=count, why=why):
                    print(f"missed {count or 'perhaps some'} events ({why})", flush=True)
                case bus.Received(topic=topic, envelope=envelope):
                    when = time.strftime("%H:%M:%S", time.localtime(envelope.time))
                    print(f"{when} {topic}", flush=True)
                    if topic.startswith("namespace/"):
                        break


try:
    main()
except bus.BusError as error:
    sys.exit(f"follow: {error}")
