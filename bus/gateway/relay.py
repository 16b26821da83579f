"""Requests of remote clients on their way to the broker and back, without any socket. Pure.

Inside, an id carries the name of the key, so that nobody gets the answer to somebody else's request by repeating its
id, and the sender is `key:NAME`, whatever the message says.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from bus.access.keys import Key
from bus.broker.routing import KEY_SENDER, MAX_ID, MIN_TTL_S
from bus.errors import InvalidError, OverloadedError
from bus.messages.envelope import Envelope

MAX_OF_KEY = 2_000
"""Requests of one key under way."""
MAX_PENDING = 20_000
MAX_BYTES_OF_KEY = 128 * 1024 * 1024
"""Of requests of one key that are under way; one that is larger may go alone. They take memory of the broker."""
NOBODY = b""
"""No connection is called so."""
MAX_OWN_ID = MAX_ID - 80
"""Characters of an id as the client has it."""


class Waiting(NamedTuple):
    """A client that waits for an answer."""

    identity: bytes
    msg_id: str
    """As the client called it."""
    namespace: str
    public: str
    expires_s: float
    size_bytes: int


class Relay:
    """The requests under way, by their inner ids."""

    def __init__(self) -> None:
        self.waiting: dict[str, Waiting] = {}
        self._of_key: Counter[str] = Counter()
        self._bytes_of_key: Counter[str] = Counter()

    def inward(self, identity: bytes, key: Key, envelope: Envelope, now_s: float, size_bytes: int = 0) -> Envelope:
        """The envelope as it goes to the broker, with a body of so many bytes; raises InvalidError, OverloadedError."""
        if not 0 < len(envelope.id) <= MAX_OWN_ID:
            raise InvalidError(f"invalid request: over TCP `id` must have 1 to {MAX_OWN_ID} characters")
        if len(envelope.cause) > MAX_OWN_ID:
            raise InvalidError(f"invalid request: over TCP `cause` must have at most {MAX_OWN_ID} characters")
        sender = f"{KEY_SENDER}{key.name}"
        inner = f"{sender}:{envelope.id}"
        self._forget(inner)  # asked again, perhaps on another connection: that one gets the answer
        held_bytes = self._bytes_of_key[key.public]
        if (
            self._of_key[key.public] >= MAX_OF_KEY
            or len(self.waiting) >= MAX_PENDING
            or (held_bytes and held_bytes + size_bytes > MAX_BYTES_OF_KEY)
        ):
            raise OverloadedError(f"overloaded: too many requests of the key {key.name} are under way")
        expires_s = now_s + envelope.ttl_ms / 1000 + MIN_TTL_S
        self.waiting[inner] = Waiting(identity, envelope.id, envelope.namespace, key.public, expires_s, size_bytes)
        self._of_key[key.public] += 1
        self._bytes_of_key[key.public] += size_bytes
        cause = f"{sender}:{envelope.cause}" if envelope.cause else ""
        return msgspec.structs.replace(envelope, id=inner, sender=sender, cause=cause, host="")

    def outward(self, envelope: Envelope) -> tuple[bytes, Envelope] | None:
        """Where an answer goes and with which envelope; None if nobody waits any more."""
        waiting = self._forget(envelope.id)
        if waiting is None:
            return None
        return waiting.identity, msgspec.structs.replace(envelope, id=waiting.msg_id, cause="")

    def refused(self, inner_id: str) -> None:
        """It could not be passed on."""
        self._forget(inner_id)

    def drop(self, identities: frozenset[bytes]) -> None:
        """These connections are gone. What they asked goes on, and counts until it has been answered."""
        for inner, one in self.waiting.items():
            if one.identity in identities:
                self.waiting[inner] = one._replace(identity=NOBODY)

    def lost(self) -> list[Waiting]:
        """The broker is gone and has forgotten all of them; gives who is to be told."""
        told = list(self.waiting.values())
        self.waiting.clear()
        self._of_key.clear()
        self._bytes_of_key.clear()
        return told

    def expire(self, now_s: float) -> None:
        """Forget those whose askers have given up."""
        for inner in [inner for inner, one in self.waiting.items() if one.expires_s < now_s]:
            self._forget(inner)

    def _forget(self, inner: str) -> Waiting | None:
        waiting = self.waiting.pop(inner, None)
        if waiting is not None:
            self._of_key[waiting.public] -= 1
            self._bytes_of_key[waiting.public] -= waiting.size_bytes
            if not self._of_key[waiting.public]:
                del self._of_key[waiting.public], self._bytes_of_key[waiting.public]
        return waiting
