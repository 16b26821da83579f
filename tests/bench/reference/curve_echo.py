"""A raw echo over TCP with CURVE: what a client elsewhere pays for the encryption and the network alone.

`curve_echo.py client DIR` starts one more process, `server` (a ROUTER that sends back what it gets), measures round
trips over loopback with blocking calls, ends it, and prints one JSON object: `median_us`, `p99_us`, `count`, `bytes`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import zmq

BODY = bytes(165)
WARM_UP = 200
COUNT = 2000
TIMEOUT_MS = 5000
STOP = b"stop"


def server(secret: str) -> None:
    """Say at which port, then send every message back to where it came from, until told to stop."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as sock:
        sock.linger = 0
        sock.rcvtimeo = sock.sndtimeo = TIMEOUT_MS
        sock.curve_server = True
        sock.curve_secretkey = secret.encode()
        port = sock.bind_to_random_port("tcp://127.0.0.1")
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        while True:
            sender, body = sock.recv_multipart()
            if body == STOP:
                return
            sock.send_multipart([sender, body])


def client() -> list[float]:
    """Round-trip times in seconds, as seen by one caller that waits for each answer."""
    public, secret = (part.decode() for part in zmq.curve_keypair())
    child = subprocess.Popen([sys.executable, __file__, "server", secret], stdout=subprocess.PIPE, text=True)
    with child, zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        assert child.stdout is not None
        sock.linger = TIMEOUT_MS
        sock.rcvtimeo = sock.sndtimeo = TIMEOUT_MS
        sock.curve_serverkey = public.encode()
        sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
        sock.connect(f"tcp://127.0.0.1:{child.stdout.readline().strip()}")
        times = []
        for _ in range(WARM_UP + COUNT):
            begin = time.perf_counter()
            sock.send(BODY)
            sock.recv()
            times.append(time.perf_counter() - begin)
        sock.send(STOP)
    return times[WARM_UP:]


def main() -> int:
    """Entry point; the server is started by the client and gets its secret key."""
    role, argument = sys.argv[1:]
    if role == "server":
        server(argument)
        return 0
    times = sorted(client())
    result = {"median_us": statistics.median(times) * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6}
    sys.stdout.write(json.dumps(result | {"count": len(times), "bytes": len(BODY)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
