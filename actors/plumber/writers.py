"""Writers of one pipe: their writes in the order of their numbers, each once, however often it is asked for. Pure.

Answers come in the order of the numbers too: what a writer has no answer for is always a row without gaps, and this is
what it repeats to a plumber that was started anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bus.pipe_messages import Content

GONE_S = 60.0
"""How long a writer that says nothing is remembered, unless the pipe still has writes of it."""
MAX_AHEAD = 1_000
"""Writes that may have overtaken a missing one."""
MAX_WRITERS = 10_000
NOTHING = Content(b"", 0, framed=True)
"""In place of a write that was refused: the next ones do not wait for it."""


class TooFarAheadError(Exception):
    """Too many writes have overtaken one that is missing."""


class TooManyError(Exception):
    """More writers than a pipe may have."""


@dataclass(eq=False, slots=True)
class Writer:
    """One writer."""

    heard_s: float
    next: int
    """Number of the write that is to be taken next."""
    early: dict[int, Content] = field(default_factory=dict)
    """Writes that overtook another."""
    open: dict[int, int] = field(default_factory=dict)
    """Number to ticket, of those that are not answered, in the order in which they came."""
    done: set[int] = field(default_factory=set)
    """Of those, the ones that will be answered after an earlier one."""


class Taken(NamedTuple):
    """What a write led to."""

    ready: list[tuple[Content, int]]
    """Writes that can go on now, with their tickets."""
    ticket: int
    """To wait for; 0 if this write is done already."""


class Writers:
    """See the module. A ticket stands for a write until it is answered."""

    def __init__(self) -> None:
        self.known: dict[str, Writer] = {}
        self.early_bytes = 0
        """Of writes that overtook another."""
        self._of_ticket: dict[int, tuple[Writer, int]] = {}

    def would_wait(self, name: str, number: int) -> bool:
        """Whether this write is new, and nothing of this writer depends on it."""
        writer = self.known.get(name)
        if writer is None:
            return True
        return number >= writer.next and number not in writer.open and not (number == writer.next and writer.early)

    def take(self, name: str, number: int, oldest: int, content: Content, ticket: int, now_s: float) -> Taken:
        """Take a write under a new ticket, unless it has one. Raises TooFarAheadError, TooManyError.

        Of a writer that is not known the oldest write without an answer counts as the next.
        """
        writer = self.known.get(name)
        if writer is None:
            if len(self.known) >= MAX_WRITERS:
                raise TooManyError
            writer = self.known[name] = Writer(now_s, max(1, min(oldest, number)))
        writer.heard_s = now_s
        self._skip(writer, min(oldest, number))
        if number in writer.open:
            return Taken([], writer.open[number])
        if number < writer.next:
            return Taken([], 0)
        if number - writer.next >= MAX_AHEAD:
            raise TooFarAheadError
        writer.early[number] = content
        self.early_bytes += len(content.data)
        writer.open[number] = ticket
        self._of_ticket[ticket] = (writer, number)
        ready = []
        while writer.next in writer.early:
            found = writer.early.pop(writer.next)
            self.early_bytes -= len(found.data)
            ready.append((found, writer.open[writer.next]))
            writer.next += 1
        return Taken(ready, ticket)

    def _skip(self, writer: Writer, oldest: int) -> None:
        """Do not wait for writes below this one: they have had their answer, from a plumber that is no more.

        The first write to reach a new plumber may still have named them, having been on its way for long.
        """
        if oldest <= writer.next:
            return
        for number in [number for number in writer.early if number < oldest]:
            self.early_bytes -= len(writer.early.pop(number).data)
            del self._of_ticket[writer.open.pop(number)]
        writer.next = oldest

    def done(self, ticket: int) -> list[int]:
        """A write is done; gives the tickets that can be answered now, in the order of their numbers."""
        found = self._of_ticket.get(ticket)
        if found is None:
            return [ticket]
        writer, number = found
        writer.done.add(number)
        answered = []
        while writer.open and (oldest := min(writer.open)) in writer.done:
            writer.done.discard(oldest)
            answered.append(writer.open.pop(oldest))
            del self._of_ticket[answered[-1]]
        return answered

    def leave(self, name: str) -> list[int]:
        """A writer has gone; what it wrote goes on. Gives tickets that will never be done: they waited for another."""
        writer = self.known.pop(name, None)
        if writer is None:
            return []
        forgotten = [writer.open.pop(number) for number in writer.early]
        self.early_bytes -= sum(len(content.data) for content in writer.early.values())
        writer.early.clear()
        for ticket in forgotten:
            del self._of_ticket[ticket]
        return forgotten

    def tick(self, now_s: float) -> list[int]:
        """Forget those that were not heard for long and have nothing in the pipe; gives tickets as `leave` does."""
        forgotten = []
        for name, writer in tuple(self.known.items()):
            if len(writer.open) == len(writer.early) and now_s - writer.heard_s > GONE_S:
                forgotten += self.leave(name)
        return forgotten
