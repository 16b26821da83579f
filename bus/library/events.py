"""Events for users of the client library: decoded, in order, with every loss told where it happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from bus import codec
from bus.errors import BusError, ClosedError, DeniedError
from bus.library.losses import LossDetector
from bus.library.subscriptions import Delivery, Subscriptions
from bus.messages.base import Message
from bus.messages.control import Stats
from bus.messages.envelope import Envelope

STATS = "stats/"
STATS_TYPE = codec.tag_of(Stats)
JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event of a type that this version has no class for."""

    type: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it was published."""

    topic: str
    message: Message | Unknown
    envelope: Envelope
    """Who published it when, with which numbers, and what led to it."""

    @property
    def namespace(self) -> str:
        """The namespace that it speaks of."""
        return self.envelope.namespace


@dataclass(frozen=True, slots=True)
class Lost:
    """Events were missed here: ask for the state, if it matters."""

    topic: str
    """The topic, if it was one; else the prefix that was subscribed to, empty if there are several."""
    count: int
    """How many; at least so many if a whole topic is missing; 0 if nobody can know whether any were."""
    why: Literal["slow", "network", "interrupted"]
    """`slow`: the queue of this subscription was full. `network`: dropped on the way, most often because this program
    was slow too. `interrupted`: there was no connection for a while; the subscription is in force again."""


class Events:
    """Events under some prefixes: `async with client.subscribe("vm/") as events: async for event in events: ...`.

    From the start of the block nothing is missed. Goes on by itself when minibus or the way to it was restarted.
    """

    def __init__(
        self, subscriptions: Subscriptions, prefixes: tuple[str, ...], capacity: int, following: set[Events]
    ) -> None:
        """`following` has those that are in force."""
        self.prefixes = (*prefixes, STATS)
        self.lost = 0
        """Events that are known to have been missed, as far as they were told."""
        self._subscriptions: Subscriptions | None = subscriptions
        self._wanted = prefixes
        self._following = following
        self._whole = prefixes[0] if len(prefixes) == 1 else ""
        self._capacity = capacity
        self._queue: deque[Delivery | Lost] = deque()
        self._overflow: Lost | None = None
        """What came while the queue was full; told before the next event that gets in."""
        self._failure: BusError | None = None
        self._detector = LossDetector()
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Join; raises UnreachableError, DeniedError, ClosedError."""
        if self._subscriptions is None:
            raise ClosedError("this subscription was closed")
        try:
            await self._subscriptions.add(self, JOIN_S)
        except DeniedError:  # perhaps only of `stats/`, without which losses at the end of a topic go unnoticed
            self.prefixes = self._wanted
            await self._subscriptions.add(self, JOIN_S)
        self._following.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more events; who waits for the next gets ClosedError. Harmless when repeated."""
        if self._subscriptions is not None:
            self._subscriptions.remove(self)
        self._subscriptions = None
        self._following.discard(self)
        self._queue.clear()
        self._overflow = None
        self._arrived.set()

    async def next(self, timeout_s: float | None = None) -> Received | Lost | None:
        """The next event or loss; None if none comes in time.

        Raises ClosedError, or DeniedError once the key of this client was revoked.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await anext(self)
        except TimeoutError:
            return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received | Lost:
        while not self._queue and self._overflow is None:
            if self._subscriptions is None:
                raise ClosedError("this subscription was closed")
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        taken = self._queue.popleft() if self._queue else self._take_overflow()
        if isinstance(taken, Delivery):
            return received(taken)
        self.lost += taken.count
        return taken

    # --- for the connection

    def offer(self, delivery: Delivery) -> None:
        """An event has arrived."""
        head = delivery.envelope
        if head.type == STATS_TYPE and delivery.topic.startswith(STATS):
            self._compare(delivery)
        if not delivery.topic.startswith(self._wanted):
            return
        if missing := self._detector.lost(delivery.topic, head.epoch, head.topic_seq):
            self._put(Lost(delivery.topic, missing, "network"))
        self._put(delivery)

    def interrupted(self) -> None:
        """There was no connection, and is one again."""
        if self._overflow is not None:
            self._queue.append(self._take_overflow())
        self._queue.append(Lost(self._whole, 0, "interrupted"))
        self._arrived.set()

    def failed(self, error: BusError) -> None:
        """What waits in the queue can still be taken."""
        self._failure = error
        self._arrived.set()

    def _put(self, item: Delivery | Lost) -> None:
        """Once full, the queue takes nothing until half of it was taken: losses are told rarely and in one piece."""
        self._arrived.set()
        if len(self._queue) < (self._capacity if self._overflow is None else self._capacity // 2 + 1):
            if self._overflow is not None:
                self._queue.append(self._take_overflow())
            self._queue.append(item)
            return
        count = item.count if isinstance(item, Lost) else 1
        if self._overflow is None:
            self._overflow = Lost(item.topic, count, "slow")
        else:
            topic = item.topic if item.topic == self._overflow.topic else self._whole
            self._overflow = Lost(topic, self._overflow.count + count, "slow")

    def _take_overflow(self) -> Lost:
        overflow, self._overflow = self._overflow, None
        return overflow or Lost(self._whole, 0, "slow")

    def _compare(self, delivery: Delivery) -> None:
        """A publisher tells its last numbers: what was lost at the end of a topic shows by nothing else."""
        with contextlib.suppress(BusError):
            stats = codec.decode_body(delivery.body)
            if isinstance(stats, Stats):
                epoch = delivery.envelope.epoch
                missing = self._detector.missing(epoch, stats.topics, lambda topic: topic.startswith(self._wanted))
                for topic, count in missing.items():
                    self._put(Lost(topic, count, "network"))


def received(delivery: Delivery) -> Received:
    """An event as users get it; one that is no message of this version is shown as far as it can be read."""
    message: Message | Unknown
    try:
        message = codec.decode_body(delivery.body)
    except BusError:
        try:
            fields = codec.decode_unknown(delivery.body)
        except BusError:
            fields = None
        message = Unknown(delivery.envelope.type, fields if isinstance(fields, dict) else {})
    return Received(delivery.topic, message, delivery.envelope)
