"""What people do to a port that is open to them: `gateway_abuser KIND KEYFILE` goes on until SIGTERM.

A program of its own and the last in turn for a processor, as abuse comes from other machines. It says `ready` once it
has begun and what it counted in the end. Who needs no key takes the address and the server's key out of the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator

import msgpack
import zmq

from bus.remote import Remote, arm, remote
from tests.system.gateway_strangers import (
    ROUND_S,
    Count,
    announced,
    garbage,
    halves,
    known,
    silent,
    strangers,
)

READERS = 120
GIANT = 80 << 20
"""Bytes of a message that is too large for everybody."""


class _EndError(Exception):
    """SIGTERM came."""


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _EndError


def nosy(remote: Remote) -> Iterator[Count]:
    """Subscribes to everything, and to all that there could be, and gives it up again; counts what it got to see."""
    with subscriber(remote) as sock:
        seen = asked = 0
        while True:
            for prefix in (
                "",
                "pipe/",
                "vm/",
                "log/",
                "stats/",
                f"vm/exp{asked % 1000}/",
                secrets.token_hex(500) + "/",
            ):
                for flag in (b"\x01", b"\x00", b"\x01"):
                    with contextlib.suppress(zmq.Again):
                        sock.send(flag + prefix.encode(), zmq.NOBLOCK)
                        asked += 1
            with contextlib.suppress(zmq.Again):
                while True:
                    seen += sock.recv_multipart(zmq.NOBLOCK)[0].startswith(b"vm/secret/")
            time.sleep(ROUND_S / 10)
            yield {"asked": asked, "seen": seen}


def hoarder(remote: Remote) -> Iterator[Count]:
    """Subscribes to long topics that nobody publishes, each another one, on several connections."""
    with contextlib.ExitStack() as opened:
        socks = [opened.enter_context(subscriber(remote)) for _ in range(4)]
        asked = 0
        while True:
            for sock in socks:
                for _ in range(10):
                    with contextlib.suppress(zmq.Again):
                        sock.send(b"\x01" + secrets.token_hex(500).encode() + b"/", zmq.NOBLOCK)
                        asked += 1
            time.sleep(ROUND_S)
            yield {"asked": asked}


def requests(remote: Remote) -> Iterator[Count]:
    """Requests that are refused, and bodies of a mebibyte that are none, at speed."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        arm(sock, remote)
        sock.connect(remote.requests)
        sent = answered = 0
        body = msgpack.packb({"type": "vm.start", "target": "all"})
        while True:
            for _ in range(100):
                sent += 1
                envelope = {
                    "v": 1,
                    "kind": "request",
                    "id": f"{sent}",
                    "to": "vm",
                    "namespace": "secret",
                    "ttl_ms": 1000,
                }
                with contextlib.suppress(zmq.Again):
                    sock.send_multipart(
                        [msgpack.packb(envelope), bytes(1 << 20) if sent % 100 == 0 else body], zmq.NOBLOCK
                    )
            with contextlib.suppress(zmq.Again):
                while True:
                    sock.recv_multipart(zmq.NOBLOCK)
                    answered += 1
            yield {"sent": sent, "answered": answered}


def _envelope(number: int, namespace: str, to: str = "vm", ttl_ms: int = 1000) -> bytes:
    head = {"v": 1, "kind": "request", "id": str(number), "to": to, "namespace": namespace, "ttl_ms": ttl_ms}
    return bytes(msgpack.packb(head))


def giants(remote: Remote) -> Iterator[Count]:
    """A request of more than anybody may send, and the name of a topic of a mebibyte; again on each new connection."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock, subscriber(remote) as events:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDHWM, 1)
        arm(sock, remote)
        sock.connect(remote.requests)
        body, topic = bytes(GIANT), b"\x02" + b"x" * (1 << 20)
        sent = 0
        while True:
            for each, data in ((sock, body), (events, topic)):
                with contextlib.suppress(zmq.Again):
                    each.send(data, zmq.NOBLOCK, copy=False)
                    sent += 1
            time.sleep(ROUND_S)
            yield {"sent": sent}


def busy(remote: Remote) -> Iterator[Count]:
    """What a key may ask, and a lot of it."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        arm(sock, remote)
        sock.connect(remote.requests)
        sent = answered = 0
        body = msgpack.packb({"type": "vm.names.get"})
        while True:
            for _ in range(100):
                with contextlib.suppress(zmq.Again):
                    sock.send_multipart([_envelope(sent, "exp1"), body], zmq.NOBLOCK)
                    sent += 1
            with contextlib.suppress(zmq.Again):
                while True:
                    answered += msgpack.unpackb(sock.recv_multipart(zmq.NOBLOCK)[0])["kind"] == "reply"
            yield {"sent": sent, "answered": answered}


def deaf(remote: Remote) -> Iterator[Count]:
    """Subscribes and reads nothing: neither the program nor, once its small buffers are full, ZeroMQ."""
    with subscriber(remote, queue=1) as sock:
        sock.send(b"\x01" + b"pipe/exp1/")
        while True:
            time.sleep(ROUND_S)
            yield {"asked": 1}


def mute(remote: Remote) -> Iterator[Count]:
    """Many readers of a pipe, and nobody who takes their answers."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVHWM, 1)
        sock.setsockopt(zmq.RCVBUF, 4096)
        arm(sock, remote)
        sock.connect(remote.requests)
        for number in range(READERS):
            head = {
                "v": 1,
                "kind": "request",
                "id": f"{number}",
                "to": "plumber",
                "namespace": "exp2",
                "ttl_ms": 60_000,
            }
            body = {"type": "pipe.read", "pipe": "p", "reader": f"r{number}", "max_bytes": 1 << 20}
            sock.send_multipart([msgpack.packb(head), msgpack.packb(body)])
        while True:
            time.sleep(ROUND_S)
            yield {"asked": READERS}


@contextlib.contextmanager
def subscriber(remote: Remote, queue: int = 1_000) -> Iterator[zmq.Socket[bytes]]:
    """An XSUB, which may say what it likes."""
    with zmq.Context() as context, context.socket(zmq.XSUB) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVHWM, queue)
        sock.setsockopt(zmq.RCVBUF, 4096)
        arm(sock, remote)
        sock.connect(remote.events)
        yield sock


_STRANGERS = (silent, halves, announced, garbage, strangers)
_CLIENTS = (known, nosy, hoarder, requests, giants, busy, deaf, mute)
KINDS: dict[str, Callable[[Remote], Iterator[Count]]] = {kind.__name__: kind for kind in (*_STRANGERS, *_CLIENTS)}


def main() -> None:
    """Entry point."""
    os.nice(19)
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    kind, file = sys.argv[1:]
    abuse = KINDS[kind](remote("", file))
    counts = next(abuse)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with contextlib.suppress(_EndError):
        while True:
            counts = next(abuse)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
