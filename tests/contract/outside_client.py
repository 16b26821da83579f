"""A client as docs/protocol.md describes it: ZeroMQ and msgpack, and nothing of ours. Run as a program by the tests.

`outside_client.py BASE` speaks with the toy `vm`, `outside_client.py BASE product` with the real one. Each line that it
writes is one thing that it found out.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Any

import msgpack
import zmq

TIMEOUT_MS = 10_000


class Failure(Exception):
    """An answer of kind `failure`."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body["message"])
        self.code = str(body["code"])


class Bus:
    """A DEALER for requests, a SUB for events, an XPUB for made-up events."""

    def __init__(self, base: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.requests = self._socket(zmq.DEALER, f"ipc://{base}/bus/requests")
        self.events = self._socket(zmq.SUB, f"ipc://{base}/bus/events")
        self.publisher = self._socket(zmq.XPUB, f"ipc://{base}/bus/publish")
        self.waiting: list[list[bytes]] = []
        self.last: dict[tuple[str, str], int] = {}

    def _socket(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        sock = self.context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        sock.connect(endpoint)
        return sock

    def close(self) -> None:
        """Leave nothing."""
        for sock in (self.requests, self.events, self.publisher):
            sock.close()
        self.context.term()

    def ask(self, to: str, kind: str, msg_id: str = "", **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Envelope and body of the reply; raises Failure."""
        msg_id = msg_id or secrets.token_hex(8)
        envelope = {"v": 1, "kind": "request", "id": msg_id, "to": to, "ttl_ms": TIMEOUT_MS}
        self.requests.send_multipart([msgpack.packb(envelope), msgpack.packb({"type": kind, **fields})])
        head, body = (msgpack.unpackb(frame) for frame in self.requests.recv_multipart())
        if head["id"] != msg_id:
            raise AssertionError(f"an answer to {head['id']} while waiting for that to {msg_id}")
        if head["kind"] == "failure":
            raise Failure(body)
        return head, body

    def subscribe(self, prefix: str) -> None:
        """In force when this returns."""
        nonce = f"sync/{secrets.token_hex(8)}/".encode()
        self.events.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        self.events.setsockopt(zmq.SUBSCRIBE, nonce)
        while (frames := self.events.recv_multipart())[0] != nonce:
            self.waiting.append(frames)
        self.events.setsockopt(zmq.UNSUBSCRIBE, nonce)

    def event(self, wanted: str = "") -> tuple[str, dict[str, Any], dict[str, Any], int]:
        """Topic, envelope, body and number of lost events before it; events of other types are passed over."""
        while True:
            frames = self.waiting.pop(0) if self.waiting else self.events.recv_multipart()
            topic = frames[0].decode()
            head, body = msgpack.unpackb(frames[1]), msgpack.unpackb(frames[2])
            key = (head["epoch"], topic)
            before, self.last[key] = self.last.get(key), head["topic_seq"]
            if body["type"] == wanted or not wanted:
                jump = head["topic_seq"] - before - 1 if before is not None else 0
                return topic, head, body, max(jump, 0)

    def make_up(self, topic: str, epoch: str, number: int, body: dict[str, Any]) -> None:
        """Publish an event with any number."""
        head = {
            "v": 1,
            "kind": "event",
            "id": f"{epoch}.{number}",
            "type": body["type"],
            "sender": "madeup@nowhere",
            "epoch": epoch,
            "seq": number,
            "topic_seq": number,
            "time": time.time(),
        }
        self.publisher.send_multipart([topic.encode(), msgpack.packb(head), msgpack.packb(body)])


def found(what: str) -> None:
    """One line."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def gaps(bus: Bus) -> None:
    """Made-up events on a made-up topic: a gap, a new epoch, a lost tail."""
    bus.subscribe("made/up/")
    if bus.publisher.recv() != b"\x01":
        raise AssertionError("the broker does not subscribe to everything")
    fact = {"type": "made.up"}
    for epoch, number in (("e1", 1), ("e1", 2), ("e1", 5), ("e2", 1), ("e2", 2)):
        bus.make_up("made/up/", epoch, number, fact)
    lost = [bus.event("made.up")[3] for _ in range(5)]
    found(f"lost {lost}")
    bus.subscribe("stats/nowhere/")
    bus.make_up("stats/nowhere/madeup/", "e2", 3, {"type": "control.stats", "topics": {"made/up/": 4}})
    _, head, stats, _ = bus.event("control.stats")
    found(f"tail {stats['topics']['made/up/'] - bus.last[head['epoch'], 'made/up/']}")


def unreachable(bus: Bus) -> None:
    """Nobody there, and how soon that is said."""
    started = time.monotonic()
    try:
        bus.ask("nobody", "control.ping")
    except Failure as failure:
        found(f"{failure.code} {'at once' if time.monotonic() - started < 1 else 'late'}")


def with_toy(bus: Bus) -> None:
    """The toy publishes as many events as `vm.start` names."""
    bus.subscribe("vm/")
    head, body = bus.ask("vm", "vm.start", target="3")
    found(f"reply {body['type']} after event {head['seq']} from {head['sender'].partition('@')[0]}")
    for _ in range(3):
        topic, event, body, lost = bus.event("vm.started")
        found(f"{topic} {event['topic_seq']} lost {lost}")
    if event["seq"] > head["seq"] or event["epoch"] != head["epoch"]:
        raise AssertionError("the reply does not contain the events before it")
    found(f"vms {bus.ask('vm', 'vm.list.get')[1]['vms']}")


def with_product(bus: Bus) -> None:
    """Says when it has joined; then waits for a launch, and asks for what the event told of."""
    bus.subscribe("vm/")
    found("joined")
    topic, head, event, lost = bus.event("vm.launched")
    found(f"{topic} {event['name']} {event['state']} lost {lost}")
    answer, body = bus.ask("vm", "vm.list.get")
    (info,) = body["vms"]
    found(f"{info['name']} {info['state']} {info['kind']} {answer['seq'] >= head['seq']}")


def main() -> int:
    """Everything that the mode has."""
    bus = Bus(sys.argv[1])
    try:
        (with_product if sys.argv[2:] == ["product"] else with_toy)(bus)
        unreachable(bus)
        gaps(bus)
    finally:
        bus.close()
    found(f"of ours: {[name for name in ('bus', 'actors', 'cli', 'shims') if name in sys.modules]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
