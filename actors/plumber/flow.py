"""How messages flow through one pipe: readers with bounded queues, writers that wait, nothing lost unseen. Pure.

A batch stays until each of its readers has said that it is done with it; only then is its writer told. So what a
writer was told is with the readers, whatever process dies, and a pipe needs no disk.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from actors.plumber.messages import Content, last_of, split
from bus.messages.pipe import Delivery, Overflow, PipeMode

MAX_QUEUE_BYTES = 4 * 1024 * 1024
"""Of one reader, before its queue is full; one batch more fits, whatever its size."""
MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of what waits for a full queue to empty; more is refused."""
SILENT_S = 5.0
"""How long a reader with a full queue may say nothing."""
GONE_S = 60.0
"""How long a reader with nothing to do may say nothing; it asks every few seconds."""


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
    """Dropped and not yet told."""
    ticket: int = 0
    """A read that waits; 0 if none does."""
    wants_bytes: int = 0
    wants_after: int = 0

    @property
    def full(self) -> bool:
        """Whether it has had enough for now."""
        return self.queued_bytes >= MAX_QUEUE_BYTES


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


class CutOff(NamedTuple):
    """A reader fell silent with a full queue; `lost` messages were waiting for it."""

    reader: str
    lost: int


Effect = Publish | Deliver | Done | CutOff


class FullError(Exception):
    """More is waiting already than a pipe may hold."""


class Flow:
    """The messages of one pipe. Every method returns what is to be done about it, in order."""

    def __init__(self, *, mode: PipeMode = PipeMode.ALL, overflow: Overflow = Overflow.BLOCK, seed: int = 0) -> None:
        self.mode = mode
        self.overflow = overflow
        self.readers: dict[str, Reader] = {}
        self.seq = 0
        """Messages so far."""
        self.dropped = 0
        """Messages that some reader missed."""
        self.cut_off = 0
        """Readers that were."""
        self.last = b""
        """The last message."""
        self.ended = False
        self._held: deque[Batch] = deque()
        self._held_bytes = 0
        self._turn = ""
        """Reader that had the last message in round-robin."""
        self._cut: set[str] = set()
        self._random = random.Random(seed)  # noqa: S311 - no secret

    # --- writing

    def write(
        self, content: Content, ticket: int = 0, parts: Sequence[tuple[str, Content]] | None = None
    ) -> list[Effect]:
        """Take messages, now or when there is room. Raises FullError if too much waits already."""
        batch = Batch(content, ticket, None if parts is None else tuple(parts))
        if not self._held and not self._blocked():
            return self._distribute(batch)
        if self._held_bytes + len(content.data) > MAX_HELD_BYTES:
            raise FullError
        self._held.append(batch)
        self._held_bytes += len(content.data)
        return []

    def recipients(self) -> tuple[str, ...]:
        """Who is to get the next message, if a program makes it for each: all, or whose turn it is."""
        if self.mode is PipeMode.ALL or not self.readers:
            return tuple(sorted(self.readers))
        return (next(self._choices()),)

    @property
    def holding(self) -> bool:
        """Whether writers wait."""
        return bool(self._held)

    def _blocked(self) -> bool:
        if self.overflow is Overflow.DROP or not self.readers:
            return False
        full = (reader.full for reader in self.readers.values())
        return any(full) if self.mode is PipeMode.ALL else all(full)

    def _release(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._held and (self.ended or not self._blocked()):
            batch = self._held.popleft()
            self._held_bytes -= len(batch.content.data)
            effects += self._distribute(batch)
        return effects

    def _distribute(self, batch: Batch) -> list[Effect]:
        content = batch.content
        first_seq = self.seq + 1
        self.seq += content.count
        self.last = last_of(content) or self.last
        parts = self._parts(batch)
        effects: list[Effect] = []
        if parts is None:
            effects.append(Publish(first_seq, content))
            for reader in self.readers.values():
                effects += self._enqueue(reader, first_seq, content, batch)
        else:
            for name, part in parts:
                reader = self.readers[name]
                effects.append(Publish(reader.seq + 1, part, name))
                effects += self._enqueue(reader, reader.seq + 1, part, batch)
                reader.seq += part.count
        if batch.open == 0 and batch.ticket:
            effects.append(Done(batch.ticket))
        return effects

    def _parts(self, batch: Batch) -> list[tuple[str, Content]] | None:
        """Who gets what, if not everybody gets all."""
        if batch.parts is not None:
            return [(name, part) for name, part in batch.parts if name in self.readers]
        if self.mode is PipeMode.ALL or not self.readers:
            return None
        messages = split(batch.content.data, framed=batch.content.framed)
        chosen: dict[str, list[bytes]] = {}
        for message, name in zip(messages, self._choices(), strict=False):
            chosen.setdefault(name, []).append(message)
        return [
            (name, replace(batch.content, data=b"".join(found), count=len(found))) for name, found in chosen.items()
        ]

    def _choices(self) -> Iterator[str]:
        """Readers for one message after the other; those that are full only if all are."""
        names = sorted(name for name, reader in self.readers.items() if not reader.full) or sorted(self.readers)
        if self.mode is PipeMode.RANDOM:
            while True:
                yield self._random.choice(names)
        at = next((index for index, name in enumerate(names) if name > self._turn), 0)
        while True:
            self._turn = names[at % len(names)]
            yield self._turn
            at += 1

    def _enqueue(self, reader: Reader, first_seq: int, content: Content, batch: Batch) -> list[Effect]:
        if reader.full and self.overflow is Overflow.DROP:
            reader.lost += content.count
            self.dropped += content.count
            return []
        reader.number += 1
        delivery = Delivery(
            number=reader.number,
            first_seq=first_seq,
            count=content.count,
            data=content.data,
            framed=content.framed,
            repeated=content.repeated,
        )
        reader.queue.append(Queued(delivery, batch))
        reader.queued_bytes += len(content.data)
        batch.open += 1
        return self._answer(reader)

    # --- reading

    def read(
        self, name: str, *, done: int, after: int, max_bytes: int, ticket: int, now_s: float
    ) -> list[Effect] | None:
        """Take note of what a reader is done with and give it what comes after; None if it was cut off.

        The first read attaches. With `max_bytes` 0 it is a sign of life, answered at once.
        """
        if name in self._cut:
            self._cut.discard(name)
            return None
        reader = self.readers.get(name)
        if reader is None:
            reader = self.readers[name] = Reader(name, now_s, number=after)
        reader.heard_s = now_s
        effects = self._settle(reader, done)
        effects += self._release()
        if max_bytes == 0:
            return [*effects, Deliver(ticket, ())]
        if reader.ticket:
            effects.append(Deliver(reader.ticket, ()))  # an older read that nobody waits for any more
        reader.ticket, reader.wants_bytes, reader.wants_after = ticket, max_bytes, after
        return effects + self._answer(reader)

    def give_up(self, name: str, ticket: int) -> None:
        """A read that waits is not waited for any more."""
        reader = self.readers.get(name)
        if reader is not None and reader.ticket == ticket:
            reader.ticket = 0

    def _settle(self, reader: Reader, done: int) -> list[Effect]:
        """Forget what a reader is done with; who wrote it is told when it was the last."""
        effects: list[Effect] = []
        while reader.queue and reader.queue[0].delivery.number <= done:
            effects += self._close(reader, reader.queue.popleft())
        return effects

    def _close(self, reader: Reader, queued: Queued) -> list[Effect]:
        reader.queued_bytes -= len(queued.delivery.data)
        batch = queued.batch
        batch.open -= 1
        return [Done(batch.ticket)] if batch.open == 0 and batch.ticket else []

    def _answer(self, reader: Reader) -> list[Effect]:
        """Answer the read that waits, if there is something to tell."""
        if not reader.ticket:
            return []
        chosen: list[Delivery] = []
        size = 0
        for delivery, _ in reader.queue:
            if delivery.number <= reader.wants_after:
                continue
            if chosen and size + len(delivery.data) > reader.wants_bytes:
                break
            chosen.append(delivery)
            size += len(delivery.data)
        ended = self.ended and not reader.queue
        if not (chosen or reader.lost or ended):
            return []
        effect = Deliver(reader.ticket, tuple(chosen), reader.lost, ended)
        reader.ticket, reader.lost = 0, 0
        if ended:
            del self.readers[reader.name]
        return [effect]

    # --- leaving and ending

    def leave(self, name: str) -> list[Effect]:
        """A reader says goodbye; what it had not dealt with counts as done."""
        reader = self.readers.pop(name, None)
        if reader is None:
            return []
        effects: list[Effect] = [Deliver(reader.ticket, ())] if reader.ticket else []
        while reader.queue:
            effects += self._close(reader, reader.queue.popleft())
        return effects + self._release()

    def end(self) -> list[Effect]:
        """The pipe is deleted: readers get what is there, then its end."""
        self.ended = True
        effects = self._release()
        for reader in tuple(self.readers.values()):
            effects += self._answer(reader)
        return effects

    def tick(self, now_s: float) -> list[Effect]:
        """Part with readers that fell silent."""
        effects: list[Effect] = []
        for reader in tuple(self.readers.values()):
            silent_s = now_s - reader.heard_s
            if reader.ticket or silent_s <= SILENT_S:
                continue
            if reader.queue:
                lost = sum(queued.delivery.count for queued in reader.queue)
                self.cut_off += 1
                self.dropped += lost
                self._cut.add(reader.name)
                effects.append(CutOff(reader.name, lost))
            elif silent_s <= GONE_S:
                continue
            effects += self.leave(reader.name)
        return effects
