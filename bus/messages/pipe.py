"""Pipes: named streams of messages, and pipelines of programs between them.

A message is a line, its newline included, or in a framed pipe any bytes. They travel in batches of whole messages. A
plain subscriber of `pipe/<namespace>/<pipe>/` sees everything and may lose; a reader that attaches loses nothing: it
asks for batches, and by asking again says that it has what it got before.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import Ack, Event, Message, Query


class PipeMode(StrEnum):
    """Who gets a message."""

    ALL = "all"
    ROUND_ROBIN = "round-robin"
    RANDOM = "random"


class Overflow(StrEnum):
    """What happens when an attached reader falls behind."""

    BLOCK = "block"
    """Writers wait; a reader that is silent meanwhile is cut off."""
    DROP = "drop"
    """The reader misses messages, and is told how many."""


class PipeBatch(Event, frozen=True, kw_only=True, omit_defaults=True, tag="pipe.batch"):
    """Messages as they were written together, on `pipe/<namespace>/<pipe>/all/`, or on `.../to/<reader>/`."""

    first_seq: int
    """Number of the first message in this pipe; on `to/` its number among those of that reader."""
    count: int
    data: bytes
    """The messages one after the other: lines with their newlines, or framed."""
    framed: bool = False
    """Each message is preceded by its length, four bytes, big-endian."""
    repeated: bool = False
    """The writer could not know whether an earlier copy had arrived: these messages may have been seen before."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch for one attached reader."""

    number: int
    """Number of this delivery to this reader; to be named in the next `ReadPipe`."""
    first_seq: int
    """As in PipeBatch."""
    count: int
    data: bytes
    framed: bool = False
    repeated: bool = False


class PipeRead(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pipe.read.done"):
    """What a reader gets; nothing if nothing came while it waited."""

    deliveries: tuple[Delivery, ...] = ()
    lost: int = 0
    """Messages dropped for this reader since its last read."""
    ended: bool = False
    """The pipe was deleted: there is nothing more."""


class ReadPipe(Query[PipeRead], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.read"):
    """Give me more of a pipe of the envelope's namespace; waits until there is something or time is nearly up.

    The first one attaches the reader, and messages written from then on are for it. Answered at once with
    `conflict` if the reader was cut off because it had fallen silent; the next read attaches it anew.
    """

    pipe: str
    reader: str
    """Chosen by the reader, unlike any other, and the same for all its reads."""
    done: int = 0
    """Everything up to this delivery has been dealt with; 0 at first. What is not done keeps its writer waiting."""
    after: int = 0
    """The last delivery that has arrived; 0 at first."""
    max_bytes: int = 1_048_576
    """A single batch may be larger."""


class LeavePipe(Query[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.leave"):
    """This reader, or this writer, is gone for good."""

    pipe: str
    reader: str = ""
    writer: str = ""


class PipeWritten(Message, frozen=True, kw_only=True, tag="pipe.written"):
    """Every attached reader has these messages, or has been cut off."""

    number: int


class WritePipe(Query[PipeWritten], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.write"):
    """Write messages into a pipe of the envelope's namespace; answered when its attached readers have them.

    A writer may have several of these under way; they are taken in the order of their numbers. One that got no answer
    is sent again with the same number and `repeated`.
    """

    pipe: str
    writer: str = ""
    """Chosen by the writer, unlike any other; empty for a single message of nobody in particular."""
    number: int = 1
    """1 for the first, then one more each time."""
    data: bytes
    """Whole messages: a line lacking its newline at the end gets one."""
    framed: bool = False
    repeated: bool = False
    waits: bool = True
    """Otherwise answered as soon as the pipe has taken it, `overloaded` if it is full."""
