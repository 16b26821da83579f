"""Which addresses guests use, learned from their ARP packets and IPv6 neighbour discovery, by nftables in the kernel.

No packet ever comes to us. There is one element a port and family, so a guest cannot fill the tables, and its key is
the port that a packet came in by, so a guest says nothing about another one. Link-local addresses and those that nobody
can have as his own do not count, nor does the question whether an IPv4 address is free (RFC 5227); the same question
about an IPv6 address does, because it is all that some guests ever say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final

from shims.network.base import Addresses
from shims.network.nft import Nft, NftError

TABLE: Final = "bridge minibus_addresses"
V4: Final = "mb_v4"
V6: Final = "mb_v6"
_HOOK: Final = "mb_learn_1"
"""The number is that of these rules: a table with others, of an earlier minibus, is replaced."""
_TRIES: Final = 3

# An element that exists keeps its value when it is updated, so it is removed first. The kernel frees what was removed
# once a second, and until then it counts: without a limit for each port one that floods would leave no room to others.
# `meta protocol` stands before each address because what nft would put there by itself does not know VLAN tags.
_LIMIT: Final = "update @mb_busy { iifname timeout 1m limit rate over 10/second burst 10 packets } return"
_RULES: Final = f"""
add table {TABLE}
delete table {TABLE}
table {TABLE} {{
  set mb_busy {{ type ifname; flags dynamic,timeout; size 65535; }}
  map {V4} {{ type ifname : ipv4_addr; flags dynamic,timeout; size 262144; }}
  map {V6} {{ type ifname : ipv6_addr; flags dynamic,timeout; size 262144; }}
  chain mb_arp {{
    {_LIMIT}
    meta protocol arp delete @{V4} {{ iifname : arp saddr ip }}
    meta protocol arp update @{V4} {{ iifname : arp saddr ip }}
  }}
  chain mb_source {{
    {_LIMIT}
    meta protocol ip6 delete @{V6} {{ iifname : ip6 saddr }}
    meta protocol ip6 update @{V6} {{ iifname : ip6 saddr }}
  }}
  chain mb_target {{
    @th,64,3 != 1 @th,64,7 != 0x7e return
    {_LIMIT}
    meta protocol ip6 delete @{V6} {{ iifname : @th,64,128 }}
    meta protocol ip6 update @{V6} {{ iifname : @th,64,128 }}
  }}
  chain mb_solicit {{
    meta protocol ip6 ip6 saddr :: jump mb_target
    meta protocol ip6 ip6 saddr {{ 2000::/3, fc00::/7 }} jump mb_source
  }}
  chain {_HOOK} {{
    type filter hook prerouting priority -300; policy accept;
    meta protocol arp arp saddr ip != {{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }} jump mb_arp
    meta protocol ip6 icmpv6 type nd-neighbor-solicit jump mb_solicit
    meta protocol ip6 icmpv6 type nd-neighbor-advert jump mb_target
  }}
}}
"""


class Learning:
    """The tables of one fabric; made and used in its thread."""

    def __init__(self, nft: Nft) -> None:
        """Set them up, or go on with those that are there; raises NftError."""
        self._nft = nft
        try:
            nft.listed(f"chain {TABLE} {_HOOK}")
        except NftError:
            nft.run(_RULES)

    def addresses(self) -> dict[str, Addresses]:
        """By port; raises NftError. Tables that somebody has removed are made again."""
        try:
            ip, ip6 = self._elements(V4), self._elements(V6)
        except NftError:
            self._nft.run(_RULES)
            return {}
        return {name: Addresses(ip=ip.get(name, ""), ip6=ip6.get(name, "")) for name in {**ip, **ip6}}

    def forget(self, names: Iterable[str]) -> None:
        """Drop what is known of these ports, which are gone: another may have the name later. Raises NftError."""
        gone = frozenset(names)
        for _ in range(_TRIES - 1):
            with contextlib.suppress(NftError):  # an element that is replaced at this moment is not there
                self._delete(gone)
                return
        self._delete(gone)

    def _delete(self, names: frozenset[str]) -> None:
        family, table = TABLE.split()
        commands = []
        for map_ in (V4, V6):
            found = sorted(names & self._elements(map_).keys())
            if found:
                place = {"family": family, "table": table, "name": map_}
                commands.append({"delete": {"element": {**place, "elem": found}}})
        if commands:
            self._nft.apply(commands)

    def _elements(self, map_: str) -> dict[str, str]:
        """Port to address."""
        return {
            _plain(key): _plain(value)
            for item in self._nft.listed(f"map {TABLE} {map_}")
            for key, value in item["map"].get("elem", ())
        }


def _plain(value: Any) -> str:
    """An element with properties, such as a time to live, is an object."""
    return str(value["elem"]["val"] if isinstance(value, dict) else value)
