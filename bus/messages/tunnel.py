"""Tunnels into guests and out of them, carried by the lines of their agents; the actor `cc` has them.

They belong to the namespace of the envelope. `target` names a guest by VM name or UUID.
"""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Message, Query, Request


class OpenTunnel(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.tunnel.open"):
    """Carry connections to a port of this host into a guest, or the other way round."""

    target: str = ""
    """VM name or UUID; of a reverse one empty: every guest that matches the filter."""
    source: int
    """The port that is listened on, on loopback; of a reverse tunnel in the guests."""
    host: str
    port: int
    reverse: bool = False


class TunnelInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tunnel of one guest."""

    id: int
    vm: str
    uuid: str
    source: int
    host: str
    port: int
    reverse: bool = False
    connections: int = 0


class TunnelList(Message, frozen=True, kw_only=True, tag="cc.tunnels"):
    """By VM and id."""

    tunnels: tuple[TunnelInfo, ...]


class GetTunnels(Query[TunnelList], frozen=True, kw_only=True, tag="cc.tunnels.get"):
    """`not_found` if there is no such guest."""

    target: str
    """VM name, UUID, or `all`."""


class CloseTunnel(Request[Ack], frozen=True, kw_only=True, tag="cc.tunnel.close"):
    """No more connections; those that stand are closed. `not_found`."""

    target: str
    id: int
