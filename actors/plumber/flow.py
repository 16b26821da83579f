"""How messages flow through one pipe: readers with bounded queues, writers that wait, nothing lost unseen. Pure.

A batch stays until each of its readers has said that it is done with it; only then is its writer told. So what a
writer was told is with the readers, whatever process dies, and a pipe needs no disk for messages: only the names of its
readers are remembered, so that a pipe made anew after a crash waits for them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from actors.plumber.readers import (
    Attached,
    Batch,
    CutOff,
    Deliver,
    Detached,
    Done,
    Effect,
    Publish,
    Reader,
)
from bus.messages.pipe import Overflow, PipeMode
from bus.pipe_messages import Content, last_of, split

__all__ = ["Attached", "CutOff", "Deliver", "Detached", "Done", "Effect", "Flow", "FullError", "Publish"]

MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of what waits for a full queue to empty; more is refused."""
MAX_READERS = 10_000
"""Attached to one pipe."""
SILENT_S = 5.0
"""How long a reader may say nothing while it has deliveries that it is not done with."""
GONE_S = 60.0
"""How long a reader with nothing to do may say nothing; it asks every few seconds."""
REMEMBERED_S = 600.0
"""How long a reader that was sent away is told so."""


class FullError(Exception):
    """More is waiting already than a pipe may hold, or more are attached than may be."""


class Flow:
    """The messages of one pipe. Every method returns what is to be done about it, in order."""

    def __init__(self, *, mode: PipeMode = PipeMode.ALL, overflow: Overflow = Overflow.BLOCK) -> None:
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
        self.held_bytes = 0
        """Of what waits for a full queue to empty."""
        self._turn = ""
        """Reader that had the last message in round-robin."""
        self._sent_away: dict[str, float] = {}
        """Readers that missed something, and when they were sent away."""
        self._now_s = 0.0
        """When time was last told."""

    # --- properties

    def configure(self, mode: PipeMode, overflow: Overflow) -> list[Effect]:
        """Other properties from now on."""
        self.mode = mode
        self.overflow = overflow
        return self._release()

    # --- writing

    def write(
        self,
        content: Content,
        ticket: int = 0,
        parts: Sequence[tuple[str, Content]] | None = None,
        *,
        taken: bool = False,
    ) -> list[Effect]:
        """Take messages, now or when there is room. Raises FullError if too much waits, unless they count as taken.

        `parts` says what each reader gets, if a program has made that; those of the empty name are for subscribers.
        """
        batch = Batch(content, ticket, None if parts is None else tuple(parts))
        if not self._held and not self._blocked():
            return self._distribute(batch)
        if self.held_bytes + len(content.data) > MAX_HELD_BYTES and not taken:
            raise FullError
        self._held.append(batch)
        self.held_bytes += len(content.data)
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
        if self.overflow is Overflow.DROP or not self.readers or self.ended:
            return False
        full = (reader.full for reader in self.readers.values())
        return any(full) if self.mode is PipeMode.ALL else all(full)

    def _release(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._held and not self._blocked():
            batch = self._held.popleft()
            self.held_bytes -= len(batch.content.data)
            effects += self._distribute(batch)
        return effects

    def _distribute(self, batch: Batch) -> list[Effect]:
        content = batch.content
        first_seq = self.seq + 1
        self.seq += content.count
        self.last = last_of(content) or self.last
        if self.overflow is Overflow.DROP:
            # Nobody waits for a reader here, not even the writer for its word.
            effects: list[Effect] = [Done(batch.ticket)] if batch.ticket else []
            batch.ticket = 0
        else:
            effects = []
        effects += self._spread(batch, first_seq)
        if batch.open == 0 and batch.ticket:
            effects.append(Done(batch.ticket))
        return effects

    def _spread(self, batch: Batch, first_seq: int) -> list[Effect]:
        parts = self._parts(batch)
        if parts is None:
            effects: list[Effect] = [Publish(first_seq, batch.content)] if batch.content.count else []
            for reader in self.readers.values():
                effects += self._enqueue(reader, first_seq, batch.content, batch)
            return effects
        effects = []
        for name, part in parts:
            reader_or_none = self.readers.get(name)
            if reader_or_none is None:
                effects.append(Publish(first_seq, part))
                continue
            effects.append(Publish(reader_or_none.seq + 1, part, name))
            effects += self._enqueue(reader_or_none, reader_or_none.seq + 1, part, batch)
            reader_or_none.seq += part.count
        return effects

    def _parts(self, batch: Batch) -> list[tuple[str, Content]] | None:
        """Who gets what, if not everybody gets all."""
        if batch.parts is not None:
            return [(name, part) for name, part in batch.parts if not name or name in self.readers]
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
                yield random.choice(names)  # noqa: S311 - no secret
        at = next((index for index, name in enumerate(names) if name > self._turn), 0)
        while True:
            self._turn = names[at % len(names)]
            yield self._turn
            at += 1

    def _enqueue(self, reader: Reader, first_seq: int, content: Content, batch: Batch) -> list[Effect]:
        if not content.count:
            return []
        if reader.full and self.overflow is Overflow.DROP:
            reader.lost += content.count
            self.dropped += content.count
            return []
        reader.add(first_seq, content, batch)
        return self._answer(reader)

    # --- reading

    def expect(self, names: Iterable[str], now_s: float) -> None:
        """Readers that were attached before a crash: they are waited for, and what is written meanwhile is theirs."""
        self._now_s = max(self._now_s, now_s)
        for name in names:
            self.readers[name] = Reader(name, now_s, returning=True)

    def read(
        self, name: str, *, done: int, after: int, max_bytes: int, ticket: int, now_s: float, inside: bool = False
    ) -> list[Effect] | None:
        """Take note of what a reader is done with and give it what comes after; None if it was sent away.

        The first read attaches. With `max_bytes` 0 it is a sign of life, answered at once. Raises FullError.
        """
        self._now_s = max(self._now_s, now_s)
        effects: list[Effect] = []
        reader = self.readers.get(name)
        if reader is None:
            if name in self._sent_away or after or done:
                return None
            if len(self.readers) >= MAX_READERS:
                raise FullError
            reader = self.readers[name] = Reader(name, now_s, inside=inside)
            effects.append(Attached(name, inside))
        reader.heard_s = now_s
        if reader.returning:
            if max_bytes <= 0:
                # A sign of life may have been on its way for long: its numbers may be older than what the reader has.
                return [*effects, Deliver(ticket, (), reader.lost)]
            reader.back(after)
        effects += reader.close_until(done)
        effects += self._release()
        if max_bytes <= 0:
            return [*effects, Deliver(ticket, (), reader.lost)]
        if reader.ticket:
            effects.append(Deliver(reader.ticket, (), reader.lost))  # nobody waits for that one any more
        reader.ticket, reader.wants_bytes, reader.wants_after = ticket, max_bytes, after
        return effects + self._answer(reader)

    def give_up(self, name: str, ticket: int) -> None:
        """A read that waits is not waited for any more."""
        reader = self.readers.get(name)
        if reader is not None and reader.ticket == ticket:
            reader.ticket = 0
            reader.heard_s = max(reader.heard_s, self._now_s)

    def _answer(self, reader: Reader) -> list[Effect]:
        """Answer the read that waits, if there is something to tell."""
        if not reader.ticket:
            return []
        chosen = reader.chosen()
        ended = self.ended and not reader.queue
        if not (chosen or reader.lost > reader.told_lost or ended):
            return []
        effect = Deliver(reader.ticket, chosen, reader.lost, ended)
        reader.ticket, reader.told_lost = 0, reader.lost
        reader.heard_s = max(reader.heard_s, self._now_s)  # it waited: its silence begins now
        return [effect]

    # --- leaving and ending

    def leave(self, name: str) -> list[Effect]:
        """A reader says goodbye; what it had not dealt with counts as done."""
        reader = self.readers.pop(name, None)
        if reader is None:
            return []
        return [*reader.close(), Detached(name, reader.inside), *self._release()]

    def end(self) -> list[Effect]:
        """The pipe is deleted: readers get what is there, then its end, as often as they ask until they leave."""
        self.ended = True
        effects = self._release()
        for reader in tuple(self.readers.values()):
            effects += self._answer(reader)
        return effects

    def pardon(self, seconds: float) -> None:
        """Time that passed without anybody listening is no reader's silence."""
        for reader in self.readers.values():
            reader.heard_s += seconds

    def tick(self, now_s: float) -> list[Effect]:
        """Part with readers that fell silent."""
        self._now_s = max(self._now_s, now_s)
        effects: list[Effect] = []
        for reader in tuple(self.readers.values()):
            if reader.inside:
                continue
            silent_s = now_s - reader.heard_s
            if reader.queue and silent_s > SILENT_S:
                effects += self._cut(reader)
            elif not reader.ticket and silent_s > (SILENT_S if self.ended or reader.returning else GONE_S):
                self._sent_away[reader.name] = now_s
                effects += self.leave(reader.name)
        for name in [name for name, then in self._sent_away.items() if now_s - then > REMEMBERED_S]:
            del self._sent_away[name]
        return effects

    def _cut(self, reader: Reader) -> list[Effect]:
        lost = sum(queued.delivery.count for queued in reader.queue)
        self.cut_off += 1
        self.dropped += lost
        self._sent_away[reader.name] = self._now_s
        return [CutOff(reader.name, lost), *self.leave(reader.name)]
