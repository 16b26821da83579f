"""Readers attached to one pipe, what waits for each, and what is to be done about it. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from bus.messages.pipe import Delivery
from bus.pipe_messages import Content

MAX_QUEUE_BYTES = 4 * 1024 * 1024
"""Of one reader, before its queue is full; one batch more fits, whatever its size."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Of one answer, whatever the reader asks for; one batch is answered whatever its size."""


@dataclass(eq=False, slots=True)
class Batch:
    """What a writer wrote at once."""

    content: Content
    ticket: int = 0
    """Whom to tell when it is done; 0 for nobody."""
    parts: tuple[tuple[str, Content], ...] | None = None
    """What each reader gets of it, if a program has already made that."""
    open: int = 0
    """Deliveries of it that are not done."""


class Queued(NamedTuple):
    """A delivery and the batch it is part of."""

    delivery: Delivery
    batch: Batch


class Publish(NamedTuple):
    """Tell the subscribers; `reader` is empty for all of them."""

    first_seq: int
    content: Content
    reader: str = ""


class Deliver(NamedTuple):
    """Answer a read."""

    ticket: int
    deliveries: tuple[Delivery, ...]
    lost: int = 0
    ended: bool = False


class Done(NamedTuple):
    """Answer a write."""

    ticket: int


class Attached(NamedTuple):
    """There is a new reader, which is to be known again after a crash unless it is part of the plumber."""

    reader: str
    inside: bool = False


class Detached(NamedTuple):
    """A reader has gone, or was sent away."""

    reader: str
    inside: bool = False


class CutOff(NamedTuple):
    """A reader fell silent; `lost` messages were waiting for it."""

    reader: str
    lost: int


Effect = Publish | Deliver | Done | Attached | Detached | CutOff


@dataclass(eq=False, slots=True)
class Reader:
    """Someone who attached."""

    name: str
    heard_s: float
    queue: deque[Queued] = field(default_factory=deque)
    queued_bytes: int = 0
    number: int = 0
    """Of its last delivery."""
    seq: int = 0
    """Messages that were meant for it alone."""
    lost: int = 0
    """Dropped since it attached."""
    told_lost: int = 0
    ticket: int = 0
    """A read that waits; 0 if none does."""
    wants_bytes: int = 0
    wants_after: int = 0
    returning: bool = False
    """It was attached to a plumber that is no more, and has not said a word to this one."""
    inside: bool = False
    """Part of the plumber: may be as slow as it likes, and is not remembered."""

    @property
    def full(self) -> bool:
        """Whether it has had enough for now."""
        return self.queued_bytes >= MAX_QUEUE_BYTES

    def add(self, first_seq: int, content: Content, batch: Batch) -> None:
        """Queue a delivery."""
        self.number += 1
        delivery = Delivery(
            number=self.number,
            first_seq=first_seq,
            count=content.count,
            data=content.data,
            framed=content.framed,
            repeated=content.repeated,
        )
        self.queue.append(Queued(delivery, batch))
        self.queued_bytes += len(content.data)
        batch.open += 1

    def back(self, after: int) -> None:
        """It has come back, having got so many deliveries before: those that wait for it come after them."""
        self.returning = False
        self.number += after
        self.queue = deque(
            Queued(msgspec.structs.replace(delivery, number=delivery.number + after), batch)
            for delivery, batch in self.queue
        )

    def close_until(self, done: int) -> list[Effect]:
        """Forget deliveries up to a number; who wrote them is told where this reader was the last."""
        effects: list[Effect] = []
        while self.queue and self.queue[0].delivery.number <= done:
            delivery, batch = self.queue.popleft()
            self.queued_bytes -= len(delivery.data)
            batch.open -= 1
            if batch.open == 0 and batch.ticket:
                effects.append(Done(batch.ticket))
        return effects

    def close(self) -> list[Effect]:
        """Forget everything, and answer the read that waits with nothing."""
        effects: list[Effect] = [Deliver(self.ticket, (), self.lost)] if self.ticket else []
        self.ticket = 0
        return effects + self.close_until(self.number)

    def chosen(self) -> tuple[Delivery, ...]:
        """What the read that waits can be given."""
        found: list[Delivery] = []
        size = 0
        limit = min(self.wants_bytes, MAX_ANSWER_BYTES)
        for delivery, _ in self.queue:
            if delivery.number <= self.wants_after:
                continue
            if found and size + len(delivery.data) > limit:
                break
            found.append(delivery)
            size += len(delivery.data)
        return tuple(found)
