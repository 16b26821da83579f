"""Writers of one pipe: their writes in the order of their numbers, each once, however often it is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from actors.plumber.messages import Content

GONE_S = 60.0
"""How long a writer with nothing under way is remembered."""
MAX_AHEAD = 1_000
"""Writes that may have overtaken a missing one."""


class TooFarAheadError(Exception):
    """Too many writes have overtaken one that is missing."""


@dataclass(slots=True)
class Writer:
    """One writer."""

    heard_s: float
    next: int
    """Number of the write that is to be taken next."""
    early: dict[int, Content] = field(default_factory=dict)
    """Writes that overtook another."""
    open: dict[int, int] = field(default_factory=dict)
    """Number to ticket, of those that are not done."""


class Taken(NamedTuple):
    """What a write led to."""

    ready: list[tuple[Content, int]]
    """Writes that can go on now, with their tickets."""
    ticket: int
    """To wait for; 0 if this write is done already."""


class Writers:
    """See the module. A ticket stands for a write until it is done."""

    def __init__(self) -> None:
        self.known: dict[str, Writer] = {}
        self._of_ticket: dict[int, tuple[Writer, int]] = {}

    def take(self, name: str, number: int, oldest: int, content: Content, ticket: int, now_s: float) -> Taken:
        """Take a write under a new ticket, unless it has one. Raises TooFarAheadError.

        Of a writer that is not known the oldest write without an answer counts as the next.
        """
        writer = self.known.setdefault(name, Writer(now_s, min(oldest, number)))
        writer.heard_s = now_s
        if number in writer.open:
            return Taken([], writer.open[number])
        if number < writer.next:
            return Taken([], 0)
        if len(writer.early) >= MAX_AHEAD:
            raise TooFarAheadError
        writer.early[number] = content
        writer.open[number] = ticket
        self._of_ticket[ticket] = (writer, number)
        ready = []
        while writer.next in writer.early:
            ready.append((writer.early.pop(writer.next), writer.open[writer.next]))
            writer.next += 1
        return Taken(ready, ticket)

    def done(self, ticket: int) -> None:
        """A write is done."""
        found = self._of_ticket.pop(ticket, None)
        if found is not None:
            writer, number = found
            del writer.open[number]

    def leave(self, name: str) -> None:
        """A writer has gone; what it wrote goes on."""
        writer = self.known.pop(name, None)
        if writer is not None:
            for number in writer.early:
                self._of_ticket.pop(writer.open[number], None)

    def tick(self, now_s: float) -> None:
        """Forget those that have nothing under way and were not heard for long."""
        for name, writer in tuple(self.known.items()):
            if not writer.open and now_s - writer.heard_s > GONE_S:
                self.leave(name)
