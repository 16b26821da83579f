"""What one connection listens to: its subscriptions, the one socket they share, and what an interruption means to them.

ZeroMQ renews subscriptions by itself when the broker was restarted, but what was published meanwhile is missed. So
after an interruption each listener is told, once its subscription is in force again: who then asks for the state has
it all.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol

import zmq

from bus import codec, errors
from bus.messages.control import Synced
from bus.messages.envelope import Envelope
from bus.pump import Pump
from bus.topics import sync_topic


class Delivery(NamedTuple):
    """An event as it arrived; the body is still encoded."""

    topic: str
    envelope: Envelope
    body: bytes


class Listener(Protocol):
    """Somebody who gets events."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """It gets the events whose topic begins with one of these, each once."""
        ...

    def offer(self, delivery: Delivery) -> None:
        """An event; called in the order in which they arrive."""
        ...

    def interrupted(self) -> None:
        """There was no connection for a while, and now the subscription is in force again."""
        ...

    def failed(self, error: errors.BusError) -> None:
        """There will be no more events: this client may not watch them any longer."""
        ...


class Subscription:
    """Events under one prefix, in order; iterate to read. Beyond `capacity` unread, more are dropped and counted."""

    def __init__(self, owner: Subscriptions, prefix: str, capacity: int) -> None:
        self.prefixes = (prefix,)
        self.lost = 0
        self._owner = owner
        self._queue: asyncio.Queue[Delivery | errors.BusError] = asyncio.Queue(capacity)

    @property
    def prefix(self) -> str:
        """What was subscribed to."""
        return self.prefixes[0]

    def offer(self, delivery: Delivery) -> None:
        """Called by the port."""
        try:
            self._queue.put_nowait(delivery)
        except asyncio.QueueFull:
            self.lost += 1

    def interrupted(self) -> None:
        """Whoever holds a plain subscription looks at the numbers."""

    def failed(self, error: errors.BusError) -> None:
        """Called by the port; what has arrived can still be taken."""
        if self._queue.full():
            self._queue.get_nowait()
            self.lost += 1
        self._queue.put_nowait(error)

    async def next(self) -> Delivery:
        """Wait for the next event; raises DeniedError once this client may not watch them any longer."""
        found = await self._queue.get()
        if isinstance(found, errors.BusError):
            raise found
        return found

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while True:
            yield await self.next()

    def close(self) -> None:
        """Take no more events."""
        self._owner.remove(self)


class Subscriptions:
    """See the module. `connect` makes the connected SUB socket when it is first needed."""

    def __init__(self, connect: Callable[[], zmq.Socket[bytes]], where: str, counters: dict[str, int]) -> None:
        self._counters = counters
        self._connect = connect
        self._where = where
        self._listeners: list[Listener] = []
        self._syncing: dict[str, asyncio.Event] = {}
        self._refused: frozenset[str] = frozenset()
        """Prefixes that a gateway refuses to this client's key."""
        self._socket: zmq.Socket[bytes] | None = None
        self._pumps: tuple[Pump, ...] = ()
        self._rejoining: asyncio.Task[None] | None = None
        self._interruptions = 0

    async def add(self, listener: Listener, timeout_s: float) -> None:
        """When this returns, nothing published from now on is missed; raises UnreachableError."""
        self._listeners.append(listener)
        try:
            for prefix in listener.prefixes:
                self._connected().setsockopt(zmq.SUBSCRIBE, prefix.encode())
            try:
                async with asyncio.timeout(timeout_s):
                    await self._sync()
            except TimeoutError:
                raise errors.UnreachableError(f"no broker answers on {self._where}") from None
            if (refusal := self._refusal(listener)) is not None:
                raise refusal
        except BaseException:
            self.remove(listener)
            raise

    def remove(self, listener: Listener) -> None:
        """Forget a listener; harmless when repeated, and after `close`."""
        if listener in self._listeners:
            self._listeners.remove(listener)
            for prefix in listener.prefixes:
                self._connected().setsockopt(zmq.UNSUBSCRIBE, prefix.encode())

    def fail(self, error: errors.BusError) -> None:
        """Tell all listeners that there is no way to them any more."""
        for listener in tuple(self._listeners):
            listener.failed(error)

    async def close(self) -> None:
        """Forget all of them."""
        self._listeners.clear()
        if self._rejoining is not None:
            self._rejoining.cancel()
            await asyncio.wait({self._rejoining})
            self._rejoining = None
        for pump in self._pumps:
            pump.close()
        self._pumps, self._socket = (), None

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            self._socket = self._connect()
            monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            self._pumps = (Pump(monitor, lambda frames: self._on_disconnected()), Pump(self._socket, self._on_event))
        return self._socket

    async def _sync(self) -> None:
        """Wait until the broker has seen all subscriptions that were sent before."""
        topic = sync_topic(secrets.token_hex(8))
        arrived = self._syncing[topic] = asyncio.Event()
        self._connected().setsockopt(zmq.SUBSCRIBE, topic.encode())
        try:
            await arrived.wait()
        finally:
            del self._syncing[topic]
            if self._socket is not None:
                self._socket.setsockopt(zmq.UNSUBSCRIBE, topic.encode())

    def _on_disconnected(self) -> None:
        self._interruptions += 1
        if self._rejoining is None or self._rejoining.done():
            self._rejoining = asyncio.get_running_loop().create_task(self._rejoin(), name="rejoin")

    async def _rejoin(self) -> None:
        told = 0
        while told < self._interruptions:
            told = self._interruptions
            await self._sync()  # sent again with all others when the connection is back, in no order of ours
            await self._sync()  # this one comes after all of them
            for listener in tuple(self._listeners):
                if (refusal := self._refusal(listener)) is not None:
                    listener.failed(refusal)
                else:
                    listener.interrupted()

    def _refusal(self, listener: Listener) -> errors.BusError | None:
        refused = sorted(self._refused.intersection(listener.prefixes))
        return errors.DeniedError(f"the key of this client may not watch `{'`, `'.join(refused)}`") if refused else None

    def _on_event(self, frames: list[bytes]) -> None:
        try:
            raw_topic, head, body = frames
            delivery = Delivery(raw_topic.decode(), codec.decode_envelope(head), body)
        except (ValueError, errors.MalformedError):
            self._counters["malformed"] += 1
            return
        if delivery.topic in self._syncing:
            self._synced(delivery)
            return
        for listener in self._listeners:
            if delivery.topic.startswith(listener.prefixes):
                listener.offer(delivery)

    def _synced(self, delivery: Delivery) -> None:
        with contextlib.suppress(errors.BusError):  # a broker of another version: it still says that it is so far
            synced = codec.decode_body(delivery.body)
            self._refused = frozenset(synced.refused) if isinstance(synced, Synced) else frozenset()
        self._syncing[delivery.topic].set()
