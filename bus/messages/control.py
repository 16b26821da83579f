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
    token: str = ""
    """What the file `run/token` of the base directory holds, which only root can read."""


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


class Latency(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long something took, counted since the process started."""

    count: int = 0
    sum_s: float = 0.0
    buckets: tuple[tuple[float, int], ...] = ()
    """Pairs of a bound in seconds and how many took at most so long; bounds that add nothing are left out."""


class Stats(Event, frozen=True, kw_only=True, omit_defaults=True, tag="control.stats"):
    """Once a second on `stats/<host>/<actor>/`: counters, and the last numbers of the topics used since then."""

    actor: str
    seq: int = 0
    """Number of the last event published before this one."""
    topics: dict[str, int] = {}
    """Topic to its last topic_seq; shows a loss at the tail."""
    counters: dict[str, int] = {}
    inbox: int = 0
    """Requests received and not yet answered."""
    answers: dict[str, int] = {}
    """Requests answered since the process started, by outcome: `ok` or a failure code."""
    handling: Latency = Latency()
    """From the arrival of a request to its answer."""
    queueing: Latency = Latency()
    """From the asker to the arrival."""
    lag_s: float = 0.0
    """How late the last timer of the process was: what else it did kept it so long."""
    cpu_s: float = 0.0
    """Processor time used since the process started."""
    rss_bytes: int = 0


class LogRecord(Event, frozen=True, kw_only=True, omit_defaults=True, tag="control.log"):
    """A structured log record on `log/<host>/<actor>/<level>/`."""

    level: str
    event: str
    fields: dict[str, str | int | float | bool | None] = {}


class Synced(Event, frozen=True, kw_only=True, omit_defaults=True, tag="control.synced"):
    """On `sync/<nonce>/`: every subscription sent before the one to this topic is in force."""

    refused: tuple[str, ...] = ()
    """Only from a gateway: subscriptions of this connection that its key may not have at all."""
    narrowed: tuple[str, ...] = ()
    """Only from a gateway: those of which it gets a part, see `gateway.rights`."""


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


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the broker has seen on one topic since it started, or since it last forgot the topic."""

    topic: str
    count: int
    size_bytes: int
    """Of the contents, together."""
    last_s: float
    """When the last event passed."""
    publishers: tuple[str, ...] = ()
    """The first few."""
    readers: int = 0
    """Subscriptions that cover it."""


class TopicList(Message, frozen=True, kw_only=True, omit_defaults=True, tag="control.topics"):
    """Topics in alphabetical order."""

    topics: tuple[TopicInfo, ...]
    more: bool = False
    """There are further ones: ask again with `after`."""
    since_s: float = 0.0
    """When the broker began to count."""
    forgotten: int = 0
    """Topics that had to make room for newer ones."""


class GetTopics(Query[TopicList], frozen=True, kw_only=True, omit_defaults=True, tag="control.topics.get"):
    """To the broker: what passes? At most 500 topics in one answer."""

    prefix: str = ""
    after: str = ""
    """Only topics behind this one."""


class Addresses(Message, frozen=True, kw_only=True, tag="control.addresses"):
    """Names of actors, sorted."""

    actors: tuple[str, ...]


class GetAddresses(Query[Addresses], frozen=True, kw_only=True, tag="control.addresses.get"):
    """To the broker: who takes requests now? Without `broker` and `node`, which always do."""


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
    address: str = ""
    """Where it listens for clients on other hosts; empty if it does not."""


class ActorList(Message, frozen=True, kw_only=True, tag="node.actors"):
    """All processes of a node, node, broker and warden included."""

    actors: tuple[ActorStatus, ...]


class NodeStats(Event, frozen=True, kw_only=True, tag="node.stats"):
    """Once a second on `stats/<host>/node/`: the processes of the node, with restarts and their reasons.

    `pss_mib` is left out: `GetActors` tells it.
    """

    processes: tuple[ActorStatus, ...]


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


class RestartActor(Request[Ack], frozen=True, kw_only=True, tag="node.actor.restart"):
    """To `node`: end this process, if it runs, and start it again, also if it had been given up.

    The answer comes when that has begun; `node/<host>/<actor>/restarted/` tells the rest. The warden is only started.
    """

    actor: str


class Nuke(Request[Ack], frozen=True, kw_only=True, tag="node.nuke"):
    """To `node`: kill everything of this base directory, guests included, and forget it. Files and logs stay."""
