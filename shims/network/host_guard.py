"""What guests may send to the host: only what is for the tap that it comes through, or what the host passes on.

Linux takes what is sent to any of its addresses, through whichever interface it comes. So each host tap has a chain
where its packets arrive (a table of our own, which is about nothing else): what is for another address of the host is
dropped. Which addresses these are is looked up for each packet, so that one which somebody adds counts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shims.network.nft import Nft

FAMILY: Final = "netdev"
PREFIX: Final = "minibus_"
LACK: Final = "through a host tap guests reach all addresses of the host, not only those of the tap"
_PROBE: Final = "minibus_try"
_OWN: Final = ("local", "broadcast", "multicast", "anycast")


def table(tag: str) -> str:
    """The name of the table of a base directory."""
    return f"{PREFIX}{tag}"


def probe(nft: Nft) -> None:
    """Try whether the kernel can do it; raises NftError."""
    name = {"family": FAMILY, "table": _PROBE}
    commands: list[dict[str, Any]] = [
        _whole("add", _PROBE),
        {"add": {"chain": {**name, "name": "try"}}},
        *({"add": {"rule": {**name, "chain": "try", "expr": expr}}} for expr in _rules()),
        _whole("delete", _PROBE),
    ]
    nft.apply(commands)


def guard(nft: Nft, tag: str, taps: Sequence[str]) -> None:
    """Guard these interfaces, and no others any more, at one stroke; raises NftError, and nothing has changed."""
    nft.apply(commands(table(tag), taps))


def commands(name: str, taps: Sequence[str]) -> list[dict[str, Any]]:
    """The table as it shall be, in place of what there was; without taps there is none."""
    found = [_whole("add", name), _whole("delete", name)]  # a table that is not there cannot be deleted
    if taps:
        found.append(_whole("add", name))
    for tap in taps:
        chain = {"family": FAMILY, "table": name, "name": tap, "type": "filter", "hook": "ingress"}
        found.append({"add": {"chain": {**chain, "prio": 0, "dev": tap, "policy": "accept"}}})
        for expr in _rules():
            found.append({"add": {"rule": {"family": FAMILY, "table": name, "chain": tap, "expr": expr}}})
    return found


def guarded(nft: Nft, tag: str) -> set[str] | None:
    """The interfaces that are guarded, looked up; None if there is no table. Raises NftError."""
    tables = (item["table"] for item in nft.listed(f"tables {FAMILY}") if "table" in item)
    if not any(one["name"] == table(tag) for one in tables):
        return None
    chains = (item["chain"] for item in nft.listed(f"chains {FAMILY}") if "chain" in item)
    return {chain["name"] for chain in chains if chain["table"] == table(tag)}


def _whole(verb: str, name: str) -> dict[str, Any]:
    return {verb: {"table": {"family": FAMILY, "name": name}}}


def _rules() -> list[list[dict[str, Any]]]:
    def is_type(flags: Sequence[str], types: Sequence[str]) -> dict[str, Any]:
        fib = {"fib": {"result": "type", "flags": list(flags)}}
        return {"match": {"op": "==", "left": fib, "right": {"set": list(types)}}}

    return [
        [is_type(("daddr", "iif"), _OWN), {"accept": None}],
        [is_type(("daddr",), ("local", "broadcast")), {"drop": None}],
    ]
