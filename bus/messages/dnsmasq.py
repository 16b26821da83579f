"""DHCP and DNS for guests: dnsmasq(8) servers of this host. Owned by the actor `network`.

They belong to no namespace; one that listens on a host tap ends with it.
"""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Message, Query, Request

EVERY = -1
"""In place of a server's number: all of them."""


class Dnsmasq(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One server."""

    id: int
    """Counts up from 0 and is not used again."""
    address: str = ""
    """That it listens on; empty if its own configuration file says that."""
    low: str = ""
    high: str = ""
    """The first and the last address that it gives to guests."""
    config: str = ""
    """Path of a configuration file of the user's."""
    path: str = ""
    """Directory with its files."""
    pid: int = -1
    """-1 if it has ended by itself."""
    fixed: dict[str, str] = msgspec.field(default_factory=dict)
    """Addresses that are kept for certain guests, by hardware address."""
    names: dict[str, str] = msgspec.field(default_factory=dict)
    """Names by address."""
    options: tuple[str, ...] = ()
    """Of DHCP, as `--dhcp-option` of dnsmasq(8) reads them."""
    upstream: str = ""
    """Address of the DNS server that is asked for all other names; empty: none."""


class Dnsmasqs(Message, frozen=True, kw_only=True, tag="network.dnsmasq"):
    """By number."""

    servers: tuple[Dnsmasq, ...]


class GetDnsmasqs(Query[Dnsmasqs], frozen=True, kw_only=True, tag="network.dnsmasq.get"):
    """Which servers are there on this host? Those of all namespaces."""


class StartDnsmasq(Request[Dnsmasqs], frozen=True, kw_only=True, omit_defaults=True, tag="network.dnsmasq.start"):
    """Start a server, which is the reply once it serves; if it does not, nothing is left of it.

    With an address of this host and a range, with a configuration file, or with both.
    """

    address: str = ""
    low: str = ""
    high: str = ""
    config: str = ""


class KillDnsmasqs(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="network.dnsmasq.kill"):
    """End one server, or all, and remove its files; answered when the processes are gone."""

    id: int = EVERY


class ConfigureDnsmasq(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="network.dnsmasq.configure"):
    """Add one entry to a server, or to all: set the fields of one kind. It takes the place of one with the same key."""

    id: int = EVERY
    mac: str = ""
    ip: str = ""
    """With `mac` the address that is kept for it, with `name` the one that the name means."""
    name: str = ""
    option: str = ""
    upstream: str = ""


class UnconfigureDnsmasq(
    Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="network.dnsmasq.unconfigure"
):
    """Take an entry from a server, or from all; `entry` is empty for all entries of the kind."""

    id: int = EVERY
    kind: str
    """`ip`, `dns`, `options` or `upstream`."""
    entry: str = ""
    """A hardware address, an address or an option."""
