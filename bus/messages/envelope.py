"""The first frame of every request and reply, the second of every event: who, to whom, why, until when."""

from __future__ import annotations

from typing import Literal

import msgspec

from bus.messages.base import DEFAULT_NAMESPACE

PROTOCOL_VERSION = 1

Kind = Literal["request", "reply", "failure", "event"]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything a broker or a tap needs to know without decoding the body."""

    v: int = msgspec.field(default_factory=lambda: PROTOCOL_VERSION)  # a plain default would be left out on the wire
    """Version of the protocol."""
    kind: Kind
    """What the body is."""
    id: str
    """Of a request or event: unique for good. Of a reply or failure: the id of the request it answers."""
    type: str = ""
    """Tag of the body, e.g. `vm.start`."""
    to: str = ""
    """Address of the receiver, `actor` or `actor@host`; empty in events."""
    sender: str = ""
    """Address of the sender; of requests the broker writes it, whatever the sender claimed."""
    host: str = ""
    """Host of the sender."""
    namespace: str = DEFAULT_NAMESPACE
    """The namespace the message acts in or speaks of."""
    ttl_ms: int = 0
    """Time that the asker will still wait when the request is sent; 0 in everything else."""
    cause: str = ""
    """Id of the request that led to this message; empty if none did."""
    epoch: str = ""
    """Start of the publisher; a new one means that its numbers began anew."""
    seq: int = 0
    """Event: number at this publisher since its epoch. Reply: number of the last event its content includes."""
    topic_seq: int = 0
    """Event: number on this exact topic since the epoch; a jump is a loss."""
    time: float = 0.0
    """UTC seconds since 1970 at the sender."""
