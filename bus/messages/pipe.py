"""Pipes: named streams of messages, and pipelines of programs between them.

A message is a line, its newline included, or in a framed pipe any bytes. They travel in batches of whole messages. A
plain subscriber of `pipe/<namespace>/<pipe>/` sees everything and may lose; a reader that attaches loses nothing: it
asks for batches, and by asking again says that it has what it got before.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


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


class PipeEnded(Event, frozen=True, kw_only=True, omit_defaults=True, tag="pipe.ended"):
    """The pipe was deleted, told on `pipe/<namespace>/<pipe>/end/`; the next message written makes a new one."""

    count: int = 0
    """Messages that went through it since the plumber started."""


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
    """Messages dropped for this reader since it attached to the plumber that answers."""
    ended: bool = False
    """The pipe was deleted: there is nothing more."""


class ReadPipe(Query[PipeRead], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.read"):
    """Give me more of a pipe of the envelope's namespace; waits for it until time is nearly up, a minute at most.

    The first one attaches the reader, and messages written from then on are for it. Answered at once with
    `conflict` if the reader was cut off because it had fallen silent; to go on, it attaches under another name.
    """

    pipe: str
    reader: str
    """Chosen by the reader, unlike any other, and the same for all its reads: 1 to 64 of `A-Za-z0-9_.-`."""
    done: int = 0
    """Everything up to this delivery has been dealt with; 0 at first. What is not done keeps its writer waiting."""
    after: int = 0
    """The last delivery that has arrived; 0 at first."""
    max_bytes: int = 1_048_576
    """Answered with no more than 16 MiB, but a single batch may be larger; 0 is only a sign of life."""


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
    """Chosen by the writer as readers do; empty for a single write of nobody in particular."""
    number: int = 1
    """1 for the first, then one more each time."""
    oldest: int = 1
    """Number of the oldest write that has no answer yet; a plumber that was restarted begins with it."""
    data: bytes
    """Whole messages, at most 32 MiB: a line lacking its newline at the end gets one."""
    framed: bool = False
    repeated: bool = False
    waits: bool = True
    """Otherwise answered as soon as the pipe has taken it, `overloaded` if it is full."""


class PipeInput(Event, frozen=True, kw_only=True, omit_defaults=True, tag="pipe.input"):
    """Messages for a pipe from a publisher that wants no answer, on `pipe-in/<namespace>/<pipe>/`.

    They are dropped and counted when an attached reader is behind.
    """

    data: bytes
    framed: bool = False


class SetPipe(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.set"):
    """Change properties of a pipe, for all its readers and writers; None leaves one as it is."""

    pipe: str
    mode: PipeMode | None = None
    overflow: Overflow | None = None
    log: bool | None = None
    """Whether each message goes to the log, at level debug."""
    via: tuple[str, ...] | None = None
    """Program and arguments that make of each message what one reader gets; empty for none."""


class PipeInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pipe as it is now."""

    name: str
    mode: PipeMode = PipeMode.ALL
    overflow: Overflow = Overflow.BLOCK
    log: bool = False
    via: tuple[str, ...] = ()
    readers: int = 0
    """Attached ones."""
    subscribers: int = 0
    """Plain ones, who hold the pipe's topic or a prefix of it."""
    writers: int = 0
    count: int = 0
    """Messages since the plumber started."""
    dropped: int = 0
    """Messages that some reader missed, or that a publisher's burst was too much for."""
    cut_off: int = 0
    """Readers that fell silent with messages waiting for them."""
    waiting: bool = False
    """Whether writers wait for a reader."""
    last: bytes = b""
    """Beginning of the last message."""


class PipeList(Message, frozen=True, kw_only=True, tag="pipe.list"):
    """Pipes by name."""

    pipes: tuple[PipeInfo, ...]


class GetPipes(Query[PipeList], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.list.get"):
    """The pipes of the envelope's namespace, or one of them."""

    pipe: str = ""


class DeletePipes(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="pipe.delete"):
    """Delete one pipe of the envelope's namespace, or all: readers get what is there, then the end.

    `not_found` if there is no such pipe.
    """

    pipe: str = ""
