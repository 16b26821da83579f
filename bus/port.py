"""A connection to the bus: asks, answers, events.

With `bus/broker/broker.py` and `bus/gateway/doors.py` the only file that makes ZeroMQ sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import zmq

from bus import codec, errors
from bus.broker import hello_token
from bus.library.subscriptions import Delivery, Subscription, Subscriptions
from bus.local_door import LocalDoor
from bus.logs.logs import message_id
from bus.messages.base import DEFAULT_NAMESPACE, Event, Failure, Message, Request
from bus.messages.control import Goodbye, Hello
from bus.messages.envelope import Envelope, Kind
from bus.numbering import TopicNumbers
from bus.paths import Context
from bus.pump import Pump

if TYPE_CHECKING:
    from bus.actor.inputs import Inputs
    from bus.remote import Door, Remote

__all__ = ["HIGH_WATER_MARK", "Delivery", "Port", "Subscription"]

HELLO_INTERVAL_S = 0.5
PUBLISH_READY_S = 5.0
HELLO_TIMEOUT_S = 2.0
GOODBYE_S = 0.5
HIGH_WATER_MARK = 20_000
"""Messages queued towards one peer before sending says EAGAIN."""

R = TypeVar("R", bound=Message)


class Port:
    """One client of the bus. An actor gives its name and a handler for requests; others leave both out."""

    def __init__(
        self,
        context: Context,
        *,
        actor: str = "",
        on_request: Callable[[Envelope, bytes], None] | None = None,
        remote: Remote | None = None,
        queues: bool = True,
    ) -> None:
        """With `remote` it goes through the gateway of another host, with a key.

        Without `queues`, as always with `remote`, what cannot be sent now is refused instead of kept for later: an ask
        that failed must not be carried out when its asker has long given up.
        """
        self.context = context
        self.epoch = f"{time.time_ns() // 1000:x}{secrets.token_hex(2)}"
        self.seq = 0
        self.counters = {"sent": 0, "received": 0, "published": 0, "late_replies": 0, "malformed": 0}
        self.inputs: Inputs | None = None
        """Where asks are noted; set by the actor that this is the port of."""
        self.on_other_answer: Callable[[Envelope, bytes], None] | None = None
        """Takes the answers that no ask of this port waits for: those to what was sent with `relay`."""
        self.on_disconnected: Callable[[], None] | None = None
        """Called when the broker went away: it has forgotten what was under way."""
        self._where = str(remote or context.paths.bus)
        self._remote = remote
        self._queues = queues and remote is None
        self._door: Door | LocalDoor | None = None
        self._door_moved = asyncio.Event()
        self._actor = actor
        self._on_request = on_request
        self._pid = 0
        self._token = ""
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pending: dict[str, asyncio.Future[Message]] = {}
        self._numbers = TopicNumbers()
        self.subscriptions = Subscriptions(self._sub_socket, self._where, self.counters)
        self._publishing = asyncio.Event()
        self._disconnected = asyncio.Event()
        self.welcomed_s = 0.0
        """When the broker last answered this actor's sign of life, half a second apart; on the monotonic clock."""
        self._hello: asyncio.Task[None] | None = None
        self._requests: Pump | None = None
        self._monitor: Pump | None = None
        self._publisher: Pump | None = None

    # --- opening and closing

    async def open(self, *, publish: bool = False) -> None:
        """Connect; with `publish` also to the event side, and wait until nothing published is lost any more.

        Raises UnreachableError when no broker takes the connection in time, DeniedError if a gateway refuses the key.
        """
        paths = self.context.paths
        dealer = self._socket(zmq.DEALER)
        if self._remote is not None:
            from bus.remote import Door, arm  # who stays on this host needs no keys

            arm(dealer, self._remote)
            await self._enter(Door(self._remote), dealer, self._remote.requests)
            return
        if not self._queues:
            await self._enter(LocalDoor(), dealer, f"ipc://{paths.requests}")
            return
        self._monitor = Pump(dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED), lambda frames: self._on_disconnected())
        dealer.connect(f"ipc://{paths.requests}")
        self._requests = Pump(dealer, self._on_message)
        if publish:
            # XPUB instead of PUB: it tells when the broker's subscription has arrived, before which all would be lost.
            publisher = self._socket(zmq.XPUB)
            publisher.connect(f"ipc://{paths.publish}")
            self._publisher = Pump(publisher, lambda frames: self._publishing.set())
            try:
                await asyncio.wait_for(self._publishing.wait(), PUBLISH_READY_S)
            except TimeoutError:
                raise errors.UnreachableError(f"no broker answers on {paths.bus}") from None

    async def _enter(self, door: Door | LocalDoor, dealer: zmq.Socket[bytes], endpoint: str) -> None:
        self._door = door
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        self._monitor = Pump(dealer.get_monitor_socket(door.watched), lambda frames: self._on_door(door, frames))
        dealer.connect(endpoint)
        self._requests = Pump(dealer, self._on_message)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PUBLISH_READY_S):
                while not door.is_open and door.trouble is None:
                    self._door_moved.clear()
                    await self._door_moved.wait()
        if not door.is_open:
            raise door.trouble or errors.UnreachableError(f"{self._where} does not answer")

    def _on_door(self, door: Door | LocalDoor, frames: list[bytes]) -> None:
        if door.heard(frames) == zmq.EVENT_DISCONNECTED:
            self._on_disconnected()
        elif self._requests is not None:
            self._requests.look()
        if isinstance(door.trouble, errors.DeniedError):
            self.subscriptions.fail(door.trouble)
        self._door_moved.set()

    async def register(self, pid: int) -> None:
        """Tell the broker which actor this is, and go on telling it; raises BusError if it refuses."""
        self._pid = pid
        await self._say_hello(PUBLISH_READY_S)
        self._hello = asyncio.create_task(self._keep_saying_hello(), name="hello")

    async def leave(self) -> None:
        """Take no more requests; what was received may still be answered."""
        if self._hello is not None:
            await self._end_hello(self._hello)
            with contextlib.suppress(errors.BusError):
                await self.ask("broker", Goodbye(), timeout_s=GOODBYE_S)

    async def close(self) -> None:
        """Leave; every ask still open fails as cancelled, and whatever is sent or published from now on is dropped."""
        if self._hello is not None:
            await self._end_hello(self._hello)
        self._fail_pending("this connection was closed")
        await self.subscriptions.close()
        for pump in (self._monitor, self._requests, self._publisher):
            if pump is not None:
                pump.close()
        self._monitor = self._requests = self._publisher = None
        self._zmq.term()

    async def _end_hello(self, hello: asyncio.Task[None]) -> None:
        self._hello = None
        hello.cancel()
        await asyncio.wait({hello})

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        sock = self._zmq.socket(kind)
        sock.setsockopt(zmq.LINGER, 200)
        sock.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        sock.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        sock.setsockopt(zmq.MAXMSGSIZE, codec.MAX_BODY)
        sock.setsockopt(zmq.RECONNECT_IVL, 20)
        sock.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        return sock

    # --- asking and answering

    async def ask(
        self,
        to: str,
        request: Request[R],
        *,
        timeout_s: float,
        namespace: str = DEFAULT_NAMESPACE,
        cause: str = "",
        msg_id: str = "",
    ) -> R:
        """Send a request and wait for its reply; raises the BusError that the failure's code stands for.

        UnreachableError means that nothing was done, OutcomeUnknownError that it may have been: repeating with the same
        `msg_id` is safe. InvalidError if the request is too long to be sent.
        """
        if self._requests is None:
            raise errors.UnreachableError("not connected to the bus")
        body = codec.encode(request)
        if len(body) > codec.MAX_BODY:
            raise errors.InvalidError(
                f"a request of {len(body)} bytes cannot be sent, at most {codec.MAX_BODY} are allowed"
            )
        msg_id = msg_id or secrets.token_hex(8)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[msg_id] = future
        cause = cause or message_id.get()
        envelope = self._envelope(
            "request", msg_id, codec.tag_of(request), to=to, namespace=namespace, cause=cause, ttl_s=timeout_s
        )
        try:
            with self.inputs.asking(envelope, body) if self.inputs else contextlib.nullcontext():
                self._send(envelope, body)
                async with asyncio.timeout(timeout_s):
                    reply = await future
        except TimeoutError:
            raise errors.DeadlineError(f"no answer from {to} within {timeout_s:g} s; the outcome is unknown") from None
        finally:
            if self._pending.get(msg_id) is future:
                del self._pending[msg_id]
        return reply  # type: ignore[return-value]  # the codec gave the class its tag names

    def reply(self, msg_id: str, body: Message, *, namespace: str = DEFAULT_NAMESPACE) -> int:
        """Answer the request of this id; who asks for more than a message can hold is told so. Returns its bytes."""
        data = codec.encode(body)
        if len(data) > codec.MAX_BODY:  # the broker would cut the connection, and all who wait for an answer with it
            sentence = f"the answer has {len(data)} bytes, at most {codec.MAX_BODY} are allowed: ask for less"
            body = Failure(code=errors.UnavailableError.code, message=sentence)
            data = codec.encode(body)
        kind: Kind = "failure" if isinstance(body, Failure) else "reply"
        envelope = self._envelope(kind, msg_id, codec.tag_of(body), namespace=namespace)
        with contextlib.suppress(errors.OverloadedError):
            self._send(envelope, data)
        return len(data)

    def _envelope(
        self, kind: Kind, msg_id: str, tag: str, *, namespace: str, to: str = "", cause: str = "", ttl_s: float = 0.0
    ) -> Envelope:
        return Envelope(
            kind=kind,
            id=msg_id,
            type=tag,
            to=to,
            host=self.context.host,
            namespace=namespace,
            ttl_ms=max(1, int(ttl_s * 1000)) if ttl_s else 0,
            cause=cause,
            epoch=self.epoch if kind != "request" else "",
            seq=self.seq if kind != "request" else 0,
            time=time.time(),
        )

    def relay(self, envelope: Envelope, body: bytes) -> None:
        """Send a request of somebody else's; its answer goes to `on_other_answer`. Raises OverloadedError."""
        self._send(envelope, body)

    def _send(self, envelope: Envelope, body: bytes) -> None:
        if self._requests is None:
            return
        try:
            self._requests.send([codec.encode(envelope), body])
        except zmq.Again:
            if self._door is not None and not self._door.is_open:
                raise self._door.trouble or errors.UnreachableError(f"no connection to {self._where} now") from None
            raise errors.OverloadedError("the broker takes no more messages from here") from None
        self.counters["sent"] += 1

    def _on_message(self, frames: list[bytes]) -> None:
        self.counters["received"] += 1
        try:
            head, body = frames
            envelope = codec.decode_envelope(head)
        except (ValueError, errors.MalformedError):
            self.counters["malformed"] += 1
            return
        if envelope.kind == "request":
            if self._on_request is not None:
                self._on_request(envelope, body)
            return
        future = self._pending.get(envelope.id)
        if future is None or future.done():
            if self.on_other_answer is not None:
                self.on_other_answer(envelope, body)
            else:
                self.counters["late_replies"] += 1
            return
        try:
            message = codec.decode_body(body)
        except errors.BusError as error:
            future.set_exception(error)
            return
        if isinstance(message, Failure):
            future.set_exception(errors.from_failure(message))
        else:
            future.set_result(message)

    def _fail_pending(self, why: str) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(errors.CancelledError(f"{why}; the outcome is unknown"))
                future.exception()  # marks it as seen: the asker may be gone already

    # --- presence

    async def _say_hello(self, timeout_s: float) -> None:
        if not self._token:
            self._token = hello_token.read(self.context.paths.run)
        hello = Hello(actor=self._actor, epoch=self.epoch, pid=self._pid, token=self._token)
        try:
            await self.ask("broker", hello, timeout_s=timeout_s)
        except errors.DeniedError:
            self._token = ""  # read it again: the broker may have made a new one
            raise
        self.welcomed_s = time.monotonic()

    async def _keep_saying_hello(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the event, and the
                # broker often goes away in the moment in which this actor is told to end.
                async with asyncio.timeout(HELLO_INTERVAL_S):
                    await self._disconnected.wait()
            self._disconnected.clear()
            # While the broker is away, this waits in the socket's queue and is the first thing its successor hears.
            with contextlib.suppress(errors.BusError):
                await self._say_hello(HELLO_TIMEOUT_S)

    def _on_disconnected(self) -> None:
        self._fail_pending("the broker went away before there was an answer")
        self._disconnected.set()
        if self.on_disconnected is not None:
            self.on_disconnected()

    # --- events

    def publish(self, topic: str, event: Event, *, namespace: str = DEFAULT_NAMESPACE, cause: str = "") -> None:
        """Publish at once; never waits. What is too long or the broker cannot take is lost; it shows in `topic_seq`."""
        if self._publisher is None:
            return
        self.seq += 1
        envelope = Envelope(
            kind="event",
            id=f"{self.epoch}.{self.seq}",
            type=codec.tag_of(event),
            sender=f"{self._actor}@{self.context.host}",
            host=self.context.host,
            namespace=namespace,
            cause=cause or message_id.get(),
            epoch=self.epoch,
            seq=self.seq,
            topic_seq=self._numbers.next(topic),
            time=time.time(),
        )
        body = codec.encode(event)
        if len(body) > codec.MAX_BODY:
            return
        self.counters["published"] += 1
        with contextlib.suppress(zmq.Again):
            self._publisher.send([topic.encode(), codec.encode(envelope), body])

    def take_topic_seqs(self) -> dict[str, int]:
        """The last numbers of the topics used since the last call."""
        return self._numbers.take_fresh()

    async def subscribe(self, prefix: str, *, capacity: int = 10_000, timeout_s: float = 5.0) -> Subscription:
        """Follow a topic prefix; when this returns, nothing published from now on is missed.

        Raises UnreachableError when no broker confirms in time, DeniedError if this client's key may not.
        """
        subscription = Subscription(self.subscriptions, prefix, capacity)
        await self.subscriptions.add(subscription, timeout_s)
        return subscription

    def _sub_socket(self) -> zmq.Socket[bytes]:
        sub = self._socket(zmq.SUB)
        if self._remote is None:
            sub.connect(f"ipc://{self.context.paths.events}")
        else:
            from bus.remote import arm

            arm(sub, self._remote)
            sub.connect(self._remote.events)
        return sub
