"""The broker process: requests by address on a ROUTER, events by topic on XSUB and XPUB.

It answers for `broker` and, over its control lane, for `node`. Binding an ipc path twice succeeds and steals it, so
the lock comes first. The forwarder is a loop of our own rather than zmq.proxy, which aggregates unsubscriptions and
so cannot count readers (ZeroMQ RFC 29, XPUB_VERBOSER).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

import zmq

from bus import codec, errors, paths
from bus.access import group
from bus.address import parse_address
from bus.broker import hello_token, node_calls
from bus.broker.readers import Readers
from bus.broker.routing import Peer, Refused, Router
from bus.broker.topic_table import TopicTable
from bus.messages import control as msg
from bus.messages.base import DEFAULT_NAMESPACE, Ack, Event, Failure, Message
from bus.messages.debug import Inspection
from bus.messages.envelope import Envelope
from bus.node.lifecycle import Process, run_process
from bus.numbering import TopicNumbers
from bus.port import HIGH_WATER_MARK
from bus.pump import ForwardingPump, Pump
from bus.topics import MAX_TOPIC, node_topic, stats_topic

TICK_S = 0.25
STATS_EVERY_TICKS = 4
PIPES = b"pipe/"
"""Only the plumber publishes below it."""
PLUMBER = "plumber"
OWN_NAMES = ("broker", "node")
OWN_REQUESTS: tuple[type[Message], ...] = (
    *(msg.Hello, msg.Goodbye, msg.Ping, msg.GetStatus, msg.Lookup, msg.GetAddresses),
    *(msg.CountReaders, msg.CountAllReaders, msg.GetTopics),
)
"""To `broker`; `node_calls.REQUESTS` are those to `node`."""


class Broker(Process):
    """See the module."""

    kind = "broker"

    def __init__(self, context: paths.Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self.epoch = f"{time.time_ns() // 1000:x}{secrets.token_hex(2)}"
        self.router = Router(context.host)
        self.readers = Readers()
        self.topics = TopicTable()
        self.counters = {"requests": 0, "replies": 0, "events": 0, "dropped": 0, "malformed": 0, "refused": 0}
        self._token = ""
        self._plumber = f"{PLUMBER}@{context.host}"
        self._seq = 0
        self._numbers = TopicNumbers()
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._requests: Pump
        self._xpub: Pump
        self._xsub: Pump

    async def start(self) -> None:
        """Bind the endpoints."""
        where = self.context.paths
        members = group.group_id()
        self._token = hello_token.make(where.run)
        where.bus.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._requests = ForwardingPump(
            self._bound(zmq.ROUTER, where.requests, {zmq.ROUTER_MANDATORY: 1}), self._on_request
        )
        self._xpub = Pump(self._bound(zmq.XPUB, where.events, {zmq.XPUB_VERBOSER: 1}), self._on_subscription)
        xsub = self._bound(zmq.XSUB, where.publish, {})
        self._xsub = ForwardingPump(xsub, self._on_event)
        for endpoint in (where.requests, where.events):
            group.share(endpoint, members, alone=0o600, shared=0o660)
        group.share(where.bus, members, alone=0o700, shared=0o750)
        self._xsub.send([b"\x01"])  # everything: publishers never filter
        self.spawn(self._tick(), name="tick")

    async def stop(self) -> None:
        """Close the endpoints; their files stay, because a successor binds the same paths."""
        for pump in (self._requests, self._xpub, self._xsub):
            pump.close()
        self._zmq.term()

    def on_node_event(self, packet: dict[str, Any]) -> None:
        """Publish what the node tells of its children, e.g. on `node/<host>/vm/restarted/`."""
        actor, what = str(packet.get("actor")), str(packet.get("what"))
        event = msg.ActorChanged(
            actor=actor, what=what, pid=int(packet.get("pid", 0)), reason=str(packet.get("reason"))
        )
        self._publish(node_topic(self.context.host, actor, what), event)

    def inbox(self) -> int:
        """Requests in flight."""
        return len(self.router.pending)

    def understood(self) -> list[str]:
        """Types of the requests to `broker`."""
        return list(map(codec.tag_of, OWN_REQUESTS))

    def _bound(self, kind: int, path: Path, options: dict[int, int]) -> zmq.Socket[bytes]:
        sock = self._zmq.socket(kind)
        sock.setsockopt(zmq.LINGER, 200)
        sock.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        sock.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        sock.setsockopt(zmq.MAXMSGSIZE, codec.MAX_BODY)
        for option, value in options.items():
            sock.setsockopt(option, value)
        umask = os.umask(0o177)  # until it is known whom it is shared with
        try:
            sock.bind(f"ipc://{path}")
        finally:
            os.umask(umask)
        return sock

    # --- requests

    def _on_request(self, frames: list[bytes]) -> None:
        try:
            identity, head, body = frames
        except ValueError:
            self.counters["malformed"] += 1
            return
        try:
            envelope = codec.decode_envelope(head)
        except errors.MalformedError as error:
            self.counters["malformed"] += 1
            if msg_id := codec.request_id(head):
                self._fail(identity, msg_id, DEFAULT_NAMESPACE, error)
            return
        if envelope.kind == "request":
            self.counters["requests"] += 1
            self._take_request(identity, envelope, body)
        elif envelope.kind in ("reply", "failure"):
            self.counters["replies"] += 1
            routed = self.router.answer(identity, envelope)
            if routed is not None:
                self._forward(routed[0], routed[1], body)

    def _take_request(self, identity: bytes, envelope: Envelope, body: bytes) -> None:
        actor, _, host = envelope.to.partition("@")
        if actor in OWN_NAMES and host in ("", self.context.host, "localhost"):
            self._serve(identity, envelope, body)
            return
        try:
            peer, onward = self.router.request(identity, envelope, time.monotonic())
        except Refused as refused:
            self.inputs.refused(envelope, self.router.name_of(identity), refused.error)
            self._fail(identity, envelope.id, envelope.namespace, refused.error)
            return
        failure = self._forward(peer, onward, body)
        if failure is None:
            return
        self.router.pending.pop(envelope.id, None)
        if isinstance(failure, errors.UnreachableError):
            self._lose(peer)  # the connection is gone, though nobody has said so yet
        self.inputs.refused(envelope, self.router.name_of(identity), failure)
        self._fail(identity, envelope.id, envelope.namespace, failure)

    def _forward(self, identity: bytes, envelope: Envelope, body: bytes) -> errors.BusError | None:
        """Send to a connection; returns why that was not possible."""
        try:
            self._requests.send([identity, codec.encode(envelope), body])
        except zmq.Again:
            self.counters["dropped"] += 1
            return errors.OverloadedError(f"overloaded: the queue towards `{envelope.to}` is full")
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return errors.UnreachableError(f"unreachable: no actor `{envelope.to}` on {self.context.host}")
            raise
        return None

    def _reply(self, identity: bytes, request: Envelope, body: Message) -> None:
        self._send_own(identity, request.id, request.namespace, body)

    def _fail(self, identity: bytes, msg_id: str, namespace: str, error: errors.BusError) -> None:
        origin = f"broker@{self.context.host}"
        self._send_own(identity, msg_id, namespace, errors.to_failure(error, origin))

    def _send_own(self, identity: bytes, msg_id: str, namespace: str, body: Message) -> None:
        self.inputs.answered(msg_id, body)
        envelope = Envelope(
            kind="failure" if isinstance(body, Failure) else "reply",
            id=msg_id,
            type=codec.tag_of(body),
            sender=f"broker@{self.context.host}",
            host=self.context.host,
            namespace=namespace,
            epoch=self.epoch,
            seq=self._seq,
            time=time.time(),
        )
        self._forward(identity, envelope, codec.encode(body))

    def _lose(self, identity: bytes) -> None:
        self._cancel(self.router.drop(identity))

    def _cancel(self, msg_ids: list[str]) -> None:
        for asker, msg_id, namespace, error in self.router.cancel(msg_ids):
            lost = Envelope(kind="request", id=msg_id, namespace=namespace)
            self.inputs.refused(lost, self.router.name_of(asker), error)
            self._fail(asker, msg_id, namespace, error)

    # --- what the broker itself answers

    def _serve(self, identity: bytes, envelope: Envelope, body: bytes) -> None:
        self.inputs.received(envelope, body, self.router.name_of(identity))
        try:
            request = codec.decode_body(body)
        except errors.BusError as error:
            self._fail(identity, envelope.id, envelope.namespace, error)
            return
        match request:
            case msg.Hello():
                self._welcome(identity, envelope, request)
            case msg.Goodbye():
                self.router.leave(identity)
                self._reply(identity, envelope, Ack())
            case msg.Ping():
                self._reply(identity, envelope, Ack())
            case msg.CountReaders(topic=topic):
                count = msg.TopicCount(exact=self.readers.exact(topic), covering=self.readers.covering(topic))
                self._reply(identity, envelope, count)
            case msg.CountAllReaders(topics=topics):
                exact, covering = tuple(map(self.readers.exact, topics)), tuple(map(self.readers.covering, topics))
                self._reply(identity, envelope, msg.TopicCounts(exact=exact, covering=covering))
            case msg.GetTopics(prefix=prefix, after=after):
                self._reply(identity, envelope, self.topics.listed(prefix, after, self.readers.covering))
            case msg.GetAddresses():
                self._reply(identity, envelope, msg.Addresses(actors=tuple(sorted(self.router.peers))))
            case msg.Lookup(address=address):
                self._reply(identity, envelope, msg.Found(present=self._is_present(address)))
            case msg.GetStatus():
                status = msg.Status(
                    actor="broker", phase=self.phase.value, pid=os.getpid(), inbox=self.inbox(), epoch=self.epoch
                )
                self._reply(identity, envelope, status)
            case Inspection() if envelope.to.partition("@")[0] == "broker":
                self._inspect(identity, envelope, request)
            case _ if isinstance(request, node_calls.REQUESTS):
                self.spawn(self._ask_node(identity, envelope, request), name="node call")
            case _:
                unknown = errors.UnknownTypeError(f"`{envelope.to}` does not understand {envelope.type}")
                self._fail(identity, envelope.id, envelope.namespace, unknown)

    def _welcome(self, identity: bytes, envelope: Envelope, hello: msg.Hello) -> None:
        try:
            if parse_address(hello.actor).host or hello.actor in OWN_NAMES:
                raise errors.InvalidError(f"an actor cannot be called `{hello.actor}`")
            if not hello_token.is_same(hello.token, self._token):
                raise errors.DeniedError("denied: an actor shows with `token` that it can read `run/token`")
        except errors.BusError as error:
            self._fail(identity, envelope.id, envelope.namespace, error)
            return
        self._cancel(self.router.register(hello.actor, Peer(identity, hello.epoch, hello.pid)))
        self._reply(identity, envelope, msg.Welcome(host=self.context.host, epoch=self.epoch))

    def _is_present(self, address: str) -> bool:
        actor, _, host = address.partition("@")
        if host not in ("", self.context.host, "localhost"):
            return False
        if (peer := self.router.peers.get(actor)) is not None:
            self._probe(peer.identity)  # it may have died without anybody having noticed
        return actor in self.router.peers or actor in OWN_NAMES

    def _inspect(self, identity: bytes, envelope: Envelope, request: Inspection[Any]) -> None:
        try:
            self._reply(identity, envelope, self.inspect(request))
        except errors.BusError as error:
            self._fail(identity, envelope.id, envelope.namespace, error)

    async def _ask_node(self, identity: bytes, envelope: Envelope, request: Message) -> None:
        try:
            self._reply(
                identity, envelope, await node_calls.answer(self.lane, self.context, request, self.router.peers)
            )
        except errors.BusError as error:
            self._fail(identity, envelope.id, envelope.namespace, error)
        except Exception as error:
            self.log.exception("node_call_failed", error, msg_id=envelope.id, type=envelope.type)
            internal = errors.InternalError(f"internal error in broker; its log has it under {envelope.id}")
            self._fail(identity, envelope.id, envelope.namespace, internal)

    # --- events

    def _on_event(self, frames: list[bytes]) -> None:
        topic = frames[0]
        if len(frames) != 3 or not topic.endswith(b"/") or len(topic) > MAX_TOPIC or topic.startswith(b"sync/"):
            self.counters["malformed"] += 1
            return
        if topic.startswith(PIPES) and codec.sender(frames[1]) != self._plumber:
            self._refuse_pipe(topic)
            return
        self.counters["events"] += 1
        self.topics.passed(topic, len(frames[2]), lambda: codec.sender(frames[1]))
        with contextlib.suppress(zmq.Again):
            self._xpub.send(frames)

    def _refuse_pipe(self, topic: bytes) -> None:
        """What passes through pipes is the plumber's to tell; said once, because whoever does this does it often."""
        if not self.counters["refused"]:
            self.log.warn(
                "pipe_event_refused", topic=topic[:200].decode("utf-8", "replace"), reason="not the plumber's"
            )
        self.counters["refused"] += 1

    def _on_subscription(self, frames: list[bytes]) -> None:
        answer_on = self.readers.heard(frames[0])
        if answer_on is not None:
            self._send_event(answer_on, msg.Synced(), f"{self.epoch}.{secrets.token_hex(8)}", topic_seq=1)

    def _publish(self, topic: str, event: Event) -> None:
        self._seq += 1
        size_bytes = self._send_event(
            topic.encode(), event, f"{self.epoch}.{self._seq}", topic_seq=self._numbers.next(topic)
        )
        self.topics.passed(topic.encode(), size_bytes, lambda: f"broker@{self.context.host}")

    def _send_event(self, topic: bytes, event: Event, event_id: str, *, topic_seq: int) -> int:
        envelope = Envelope(
            kind="event",
            id=event_id,
            type=codec.tag_of(event),
            sender=f"broker@{self.context.host}",
            host=self.context.host,
            epoch=self.epoch,
            seq=self._seq,
            topic_seq=topic_seq,
            time=time.time(),
        )
        body = codec.encode(event)
        with contextlib.suppress(zmq.Again):
            self._xpub.send([topic, codec.encode(envelope), body])
        return len(body)

    # --- time

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await self.vitals.pause(TICK_S)
            ticks += 1
            self.router.expire(time.monotonic())
            for asked in {pending.asked for pending in self.router.pending.values()}:
                self._probe(asked)
            if ticks % STATS_EVERY_TICKS == 0:
                self._publish_stats()
                self.spawn(self._publish_node_stats(), name="node stats")

    def _publish_stats(self) -> None:
        topic = stats_topic(self.context.host, "broker")
        topics = self._numbers.take_fresh()
        topics.pop(topic, None)
        self._publish(topic, self.vitals.stats(seq=self._seq, topics=topics, counters=self.counters))

    async def _publish_node_stats(self) -> None:
        with contextlib.suppress(errors.BusError):  # a node that is stopped, or none: who listens sees the silence
            found = await node_calls.processes(self.lane)
            self._publish(stats_topic(self.context.host, "node"), msg.NodeStats(processes=found))

    def _probe(self, identity: bytes) -> None:
        """Find out whether somebody who owes an answer is still there; a ping's reply has no asker and is dropped."""
        ping = Envelope(kind="request", id=f"probe-{self.epoch}", type="control.ping", ttl_ms=1000)
        if isinstance(self._forward(identity, ping, codec.encode(msg.Ping())), errors.UnreachableError):
            self._lose(identity)


def run(base: Path, lane_socket: socket.socket | None) -> int:
    """Run the broker of a base directory until told to stop; returns the exit status."""
    return run_process(Broker, base, lane_socket)
