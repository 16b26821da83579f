"""VLANs: names for numbers, the ranges that numbers are taken from. Owned by the actor `namespace`.

A name is kept as `<namespace>//<alias>`. Numbers go from 0 (no tag: the port sees all VLANs) to 4095.
"""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Message, Query, Request

DISCONNECTED = -1
"""In place of a VLAN: an interface that is plugged in nowhere."""


class Vlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the text that a user typed for a VLAN means."""

    number: int
    """DISCONNECTED for the word `disconnected`."""
    alias: str = ""
    """Fully qualified; empty where a number was typed that has none."""


class Vlans(Message, frozen=True, kw_only=True, tag="vlan.resolved"):
    """In the order of the texts that were asked about."""

    vlans: tuple[Vlan, ...]


class ResolveVlans(Request[Vlans], frozen=True, kw_only=True, tag="vlan.resolve"):
    """Numbers of VLANs as typed (`LAN`, `other//LAN`, `100`) in the envelope's namespace.

    A new alias gets the next free number; a number that is typed is never given to an alias later. All or nothing:
    fails with `invalid` if one of them cannot be a VLAN, with `unavailable` (`out of VLANs`) if there are no more.
    """

    texts: tuple[str, ...]


class ReturnVlans(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="vlan.return"):
    """What these were resolved for has failed: aliases that were made by that are forgotten, numbers are free again.

    What was looked up again since is somebody else's too, and stays.
    """

    aliases: tuple[str, ...] = ()
    """Fully qualified."""
    numbers: tuple[int, ...] = ()
    """That were typed, and have no alias."""


class VlanRange(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers from `minimum` up to but without `maximum`; the search for a free one starts at `next_`."""

    minimum: int
    maximum: int
    next_: int


class VlanTable(Message, frozen=True, kw_only=True, omit_defaults=True, tag="vlan.table"):
    """All there is to know of VLANs, of all namespaces."""

    namespace: str = ""
    """In which was asked: its aliases are printed without it."""
    aliases: dict[str, int] = {}
    """Fully qualified name to number."""
    ranges: dict[str, VlanRange] = {}
    """By namespace; that of the default namespace is for all that have none."""
    blacklist: tuple[int, ...] = ()


class GetVlans(Query[VlanTable], frozen=True, kw_only=True, tag="vlan.table.get"):
    """Which VLANs are there?"""


class AddVlan(Request[Ack], frozen=True, kw_only=True, tag="vlan.add"):
    """Give a number to an alias of the envelope's namespace, or of the one it names; `conflict` if either is in use."""

    alias: str
    number: int


class SetVlanRange(Request[Ack], frozen=True, kw_only=True, tag="vlan.range.set"):
    """Reserve numbers for the envelope's namespace; in the default namespace: the range of all that have none."""

    minimum: int
    maximum: int


class BlacklistVlan(Request[Ack], frozen=True, kw_only=True, tag="vlan.blacklist"):
    """Never give this number to a new alias; `conflict` if an alias has it."""

    number: int


class ClearVlans(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="vlan.clear"):
    """Forget aliases of the envelope's namespace that begin with a prefix; without one its range as well.

    The wildcard as prefix forgets all VLANs of all namespaces, the blacklist included.
    """

    prefix: str = ""
