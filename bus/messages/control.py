"""What every actor and the broker itself understand."""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


class Ping(Query[Ack], frozen=True, kw_only=True, tag="control.ping"):
    """Are you there?"""


class Welcome(Message, frozen=True, kw_only=True, tag="control.welcome"):
    """The broker's answer to `Hello`."""

    host: str
    epoch: str
    """Of the broker; a change tells the actor that requests in flight may be lost."""


class Hello(Query[Welcome], frozen=True, kw_only=True, omit_defaults=True, tag="control.hello"):
    """To the broker: this connection is the actor of this name. Repeated every half second as a sign of life."""

    actor: str
    """Kind only, e.g. `vm`; the broker adds the host."""
    epoch: str
    pid: int


class Goodbye(Query[Ack], frozen=True, kw_only=True, tag="control.goodbye"):
    """To the broker: this actor takes no more requests."""


class Status(Message, frozen=True, kw_only=True, omit_defaults=True, tag="control.status"):
    """How an actor is."""

    actor: str
    phase: str
    pid: int
    inbox: int = 0
    """Requests received and not yet answered."""
    asks: int = 0
    """Own requests waiting for an answer."""
    seq: int = 0
    epoch: str = ""


class GetStatus(Query[Status], frozen=True, kw_only=True, tag="control.status.get"):
    """How are you?"""


class Stats(Event, frozen=True, kw_only=True, omit_defaults=True, tag="control.stats"):
    """Once a second on `stats/<host>/<actor>/`: counters, and the last numbers of the topics used since then."""

    actor: str
    seq: int = 0
    """Number of the last event published before this one."""
    topics: dict[str, int] = {}
    """Topic to its last topic_seq; shows a loss at the tail."""
    counters: dict[str, int] = {}


class LogRecord(Event, frozen=True, kw_only=True, omit_defaults=True, tag="control.log"):
    """A structured log record on `log/<host>/<actor>/<level>/`."""

    level: str
    event: str
    fields: dict[str, str | int | float | bool | None] = {}


class Synced(Event, frozen=True, kw_only=True, tag="control.synced"):
    """On `sync/<nonce>/`: every subscription sent before the one to this topic is in force."""


class TopicCount(Message, frozen=True, kw_only=True, tag="control.topic_count"):
    """How many subscribers hold exactly this prefix, and how many hold one that covers it."""

    exact: int
    covering: int


class CountReaders(Query[TopicCount], frozen=True, kw_only=True, tag="control.readers.count"):
    """To the broker: who listens to this topic?"""

    topic: str


class TopicCounts(Message, frozen=True, kw_only=True, tag="control.topic_counts"):
    """As `TopicCount`, for several topics in the order in which they were asked for."""

    exact: tuple[int, ...]
    covering: tuple[int, ...]


class CountAllReaders(Query[TopicCounts], frozen=True, kw_only=True, tag="control.readers.count_all"):
    """To the broker: who listens to these topics?"""

    topics: tuple[str, ...]


class Found(Message, frozen=True, kw_only=True, tag="control.found"):
    """Whether an actor is registered."""

    present: bool


class Lookup(Query[Found], frozen=True, kw_only=True, tag="control.lookup"):
    """To the broker: is this address there? (ZeroMQ RFC 8, MMI)"""

    address: str


class Fall(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a process that was not to end."""

    time_s: float
    kind: str
    """killed (by a signal), exited, hung, refused (it said that it cannot run here) or lost (nobody saw how)."""
    reason: str


class ActorStatus(Message, frozen=True, kw_only=True, omit_defaults=True, tag="node.actor"):
    """One process of a node."""

    actor: str
    pid: int
    state: str
    """starting, running, stopping, backoff, failed or stopped."""
    restarts: int = 0
    inbox: int = 0
    pss_mib: float = 0.0
    reason: str = ""
    """Why it was restarted last; empty if never."""
    falls: tuple[Fall, ...] = ()
    """The last five, newest last."""
    falls_by_kind: dict[str, int] = {}
    """How often it fell, since the node was started."""


class ActorList(Message, frozen=True, kw_only=True, tag="node.actors"):
    """All processes of a node, node, broker and warden included."""

    actors: tuple[ActorStatus, ...]


class GetActors(Query[ActorList], frozen=True, kw_only=True, tag="node.actors.get"):
    """To `node`: what runs?"""


class ActorChanged(Event, frozen=True, kw_only=True, omit_defaults=True, tag="node.actor.changed"):
    """A process of a node fell over, was restarted or was given up."""

    actor: str
    what: str
    """restarted, backoff or failed."""
    pid: int = 0
    reason: str = ""


class StopNode(Request[Ack], frozen=True, kw_only=True, tag="node.stop"):
    """To `node`: end every actor; the warden stays while it owns a container."""


class Nuke(Request[Ack], frozen=True, kw_only=True, tag="node.nuke"):
    """To `node`: kill everything of this base directory, guests included, and forget it. Files and logs stay."""
