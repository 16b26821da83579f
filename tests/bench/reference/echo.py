"""A raw echo over ZeroMQ: what one ask through a broker costs without anything of ours around it.

`echo.py client DIR` starts two more processes, `broker` (a ROUTER that swaps the addresses) and `service` (a DEALER
that sends back what it gets), measures round trips over unix sockets in DIR with blocking calls, ends both, and prints
one JSON object: `median_us`, `p99_us`, `count`, `bytes`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import zmq

BODY = bytes(165)
WARM_UP = 200
COUNT = 2000
TIMEOUT_MS = 5000
STOP = b"stop"


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, name: bytes = b"") -> zmq.Socket[bytes]:
    """A socket whose waits end, so that no process outlives a failed run."""
    sock = context.socket(kind)
    sock.linger = 0
    sock.rcvtimeo = sock.sndtimeo = TIMEOUT_MS
    if name:
        sock.identity = name
    return sock


def broker(endpoint: str) -> None:
    """Pass each message from its sender to the address in its first frame, until told to stop."""
    with zmq.Context() as context, _socket(context, zmq.ROUTER) as sock:
        sock.bind(endpoint)
        while True:
            sender, receiver, body = sock.recv_multipart()
            if receiver == STOP:
                return
            sock.send_multipart([receiver, sender, body])


def service(endpoint: str) -> None:
    """Send every message back to where it came from, until told to stop; first say hello to the client."""
    with zmq.Context() as context, _socket(context, zmq.DEALER, b"service") as sock:
        sock.connect(endpoint)
        sock.send_multipart([b"client", b"ready"])
        while True:
            sender, body = sock.recv_multipart()
            if body == STOP:
                return
            sock.send_multipart([sender, body])


def client(endpoint: str) -> list[float]:
    """Round-trip times in seconds, as seen by one caller that waits for each answer."""
    with zmq.Context() as context, _socket(context, zmq.DEALER, b"client") as sock:
        sock.connect(endpoint)
        _start_together(sock, endpoint)
        times = [_round_trip(sock) for _ in range(WARM_UP + COUNT)]
        sock.send_multipart([b"service", STOP])
        sock.send_multipart([STOP, b""])
        sock.linger = TIMEOUT_MS
    return times[WARM_UP:]


def _start_together(sock: zmq.Socket[bytes], endpoint: str) -> None:
    """Start the service once this client is known to the broker, whose ROUTER drops what it cannot address."""
    while True:
        sock.send_multipart([b"client", b"hello"])
        if sock.recv_multipart()[1] == b"hello":
            break
    _spawn("service", endpoint)
    while sock.recv_multipart()[1] != b"ready":
        pass


def _round_trip(sock: zmq.Socket[bytes]) -> float:
    begin = time.perf_counter()
    sock.send_multipart([b"service", BODY])
    sock.recv_multipart()
    return time.perf_counter() - begin


_children: list[subprocess.Popen[bytes]] = []


def _spawn(role: str, endpoint: str) -> None:
    _children.append(subprocess.Popen([sys.executable, __file__, role, endpoint]))


def main() -> int:
    """Entry point: `echo.py client DIR`; the two other roles are started by it and get the endpoint."""
    role, where = sys.argv[1:]
    if role != "client":
        {"broker": broker, "service": service}[role](where)
        return 0
    endpoint = f"ipc://{Path(where).resolve()}/echo"
    try:
        _spawn("broker", endpoint)
        times = sorted(client(endpoint))
    finally:
        for child in _children:
            child.wait(timeout=2 * TIMEOUT_MS / 1000)
    result = {"median_us": statistics.median(times) * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6}
    sys.stdout.write(json.dumps(result | {"count": len(times), "bytes": len(BODY)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
