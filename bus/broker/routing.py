"""The broker's decisions about requests, without any socket: who is who, and who waits for what.

A request goes to the connection registered under its address; its reply goes back along the pending table, never by
what a reply claims. Only the connection that was asked may answer.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from bus.address import Address, parse_address
from bus.errors import BusError, CancelledError, InvalidError, OverloadedError, UnreachableError
from bus.language.vm_names import is_valid
from bus.messages.envelope import Envelope

MAX_PENDING = 200_000
"""Requests in flight over all actors, before more are refused."""
MIN_TTL_S = 1.0
MAX_ID = 1024
"""Characters of an id; those of a chain of requests contain each other."""


GATEWAY = "gateway"
KEY_SENDER = "key:"
"""Begins the name of a sender that the gateway vouches for: a key, not an address."""


class Peer(NamedTuple):
    """A registered actor's connection."""

    identity: bytes
    epoch: str
    pid: int


class Pending(NamedTuple):
    """A request that was forwarded and not yet answered."""

    asker: bytes
    asked: bytes
    address: str
    namespace: str
    expires_s: float


class Refused(Exception):
    """A request that cannot be forwarded; `error` is what the asker is told."""

    def __init__(self, error: BusError) -> None:
        super().__init__(str(error))
        self.error = error


class Router:
    """Names and pending requests of one broker."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.peers: dict[str, Peer] = {}
        self.pending: dict[str, Pending] = {}
        self._names: dict[bytes, str] = {}

    def register(self, actor: str, peer: Peer) -> list[str]:
        """Bind a name to a connection; returns ids of requests that were at an earlier bearer of the name."""
        old = self.peers.get(actor)
        if old is not None and old.identity == peer.identity:
            self.peers[actor] = peer
            return []
        lost = self.drop(old.identity) if old is not None else []
        self.leave(peer.identity)  # a connection has one name
        self.peers[actor] = peer
        self._names[peer.identity] = actor
        return lost

    def drop(self, identity: bytes) -> list[str]:
        """A connection is gone: forget its name; returns ids of the requests it will not answer."""
        self.leave(identity)
        self._names.pop(identity, None)
        return [msg_id for msg_id, pending in self.pending.items() if pending.asked == identity]

    def leave(self, identity: bytes) -> None:
        """A connection takes no more requests; it may still answer, under its name, those it has."""
        actor = self._names.get(identity, "")
        if actor in self.peers and self.peers[actor].identity == identity:
            del self.peers[actor]

    def name_of(self, identity: bytes) -> str:
        """The address that the broker vouches for: an actor's, or one made of the connection."""
        actor = self._names.get(identity) or f"peer-{identity.hex()}"
        return f"{actor}@{self.host}"

    def is_local(self, address: Address) -> bool:
        """Whether the address is on this host."""
        return address.host in ("", self.host, "localhost")

    def request(self, asker: bytes, envelope: Envelope, now_s: float) -> tuple[bytes, Envelope]:
        """Where a request goes, and the envelope it goes with; raises Refused."""
        if not 0 < len(envelope.id) <= MAX_ID:
            raise Refused(InvalidError(f"invalid request: `id` must have 1 to {MAX_ID} characters"))
        if envelope.ttl_ms <= 0:
            raise Refused(InvalidError("invalid request: `ttl_ms` must say how long the asker waits"))
        if not is_valid(envelope.namespace):  # it becomes a level of topics
            raise Refused(InvalidError("invalid request: `namespace` is not a name that one may have"))
        try:
            address = parse_address(envelope.to)
        except BusError as error:
            raise Refused(error) from None
        if not self.is_local(address):
            raise Refused(UnreachableError(f"unreachable: no link to host `{address.host}`"))
        peer = self.peers.get(address.actor)
        if peer is None:
            raise Refused(UnreachableError(f"unreachable: no actor `{address.actor}` on {self.host}"))
        if len(self.pending) >= MAX_PENDING:
            raise Refused(OverloadedError(f"overloaded: {MAX_PENDING} requests are in flight"))
        expires_s = now_s + envelope.ttl_ms / 1000 + MIN_TTL_S
        receiver = str(address.on(self.host))
        self.pending[envelope.id] = Pending(asker, peer.identity, receiver, envelope.namespace, expires_s)
        sender = self.name_of(asker)
        if self._names.get(asker) == GATEWAY and envelope.sender.startswith(KEY_SENDER):
            sender = envelope.sender
        return peer.identity, msgspec.structs.replace(envelope, sender=sender, host=self.host)

    def answer(self, answerer: bytes, envelope: Envelope) -> tuple[bytes, Envelope] | None:
        """Where a reply or failure goes; None if nobody waits for it or it comes from somebody who was not asked."""
        pending = self.pending.get(envelope.id)
        if pending is None or pending.asked != answerer:
            return None
        del self.pending[envelope.id]
        return pending.asker, msgspec.structs.replace(envelope, sender=self.name_of(answerer), host=self.host)

    def cancel(self, msg_ids: list[str]) -> list[tuple[bytes, str, str, BusError]]:
        """Give up requests whose receiver is gone: asker, id, namespace and what to tell, for each."""
        told: list[tuple[bytes, str, str, BusError]] = []
        for msg_id in msg_ids:
            pending = self.pending.pop(msg_id, None)
            if pending is not None:
                error = CancelledError(f"{pending.address} went away before it answered; the outcome is unknown")
                told.append((pending.asker, msg_id, pending.namespace, error))
        return told

    def expire(self, now_s: float) -> int:
        """Forget requests whose time is up (their askers have given up by themselves); returns how many."""
        late = [msg_id for msg_id, pending in self.pending.items() if pending.expires_s < now_s]
        for msg_id in late:
            del self.pending[msg_id]
        return len(late)
