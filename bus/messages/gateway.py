"""The gateway: the way into the bus for clients with keys on other hosts."""

from __future__ import annotations

from bus.messages.base import Ack, Message, Query


class Rights(Message, frozen=True, kw_only=True, omit_defaults=True, tag="gateway.rights"):
    """Whom the gateway takes a client for, and what that one may do."""

    name: str
    role: str
    """control or tap."""
    namespaces: tuple[str, ...] = ()
    """Empty for no such limit."""
    topics: tuple[str, ...] = ()
    """Topic prefixes that it may watch; one that is empty is everything."""
    expires_s: float = 0.0
    """UTC seconds since 1970; 0 for never."""
    host: str = ""


class GetRights(Query[Rights], frozen=True, kw_only=True, tag="gateway.rights.get"):
    """To `gateway`, over TCP: who am I here?"""


class ReloadKeys(Query[Ack], frozen=True, kw_only=True, tag="gateway.keys.reload"):
    """To `gateway`: the keys have changed; answered when the change is in force and connections are cut."""
