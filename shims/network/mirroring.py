"""Copies of what passes through a port, both ways, to another port: a pair of nftables chains for each destination."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Final

from shims.network.base import FabricError
from shims.network.nft import Nft, NftError

FAMILY: Final = "netdev"
TABLE: Final = "minibus_mirrors"
_HOOKS: Final = {"mb_in_": "ingress", "mb_out_": "egress"}
"""What the names of chains begin with; the rest is the destination."""
_LOOPBACK: Final = "lo"


class Mirroring:
    """The mirrors of one fabric; made and used in its thread. What there is, the kernel says."""

    def __init__(self, nft: Nft) -> None:
        """Find out whether this kernel can do it and which mirrors there are; raises NftError."""
        self._nft = nft
        self._replace(_LOOPBACK, _LOOPBACK)
        self._replace("", _LOOPBACK)
        self.sources: dict[str, str] = {}
        """By destination."""
        self.look()

    def look(self) -> None:
        """See which mirrors there are: those that have all their chains."""
        found = self._chains()
        ends = [(destination, source) for _, destination, source in found]
        self.sources = {destination: source for destination, source in ends if ends.count((destination, source)) == 2}

    def mirror(self, source: str, destination: str) -> None:
        """See `Fabric.mirror`; takes the place of an earlier mirror to the same destination."""
        for name in (source, destination):  # later kernels would wait for a device of that name
            try:
                socket.if_nametoindex(name)
            except OSError:
                raise FabricError(f"{source} cannot be mirrored to {destination}: there is no {name}") from None
        try:
            self._replace(source, destination)
        except NftError as error:
            raise FabricError(f"{source} cannot be mirrored to {destination}: {error}") from None
        self.sources[destination] = source

    def unmirror(self, destination: str) -> None:
        """See `Fabric.unmirror`."""
        self.forget([destination])

    def forget(self, names: Iterable[str]) -> None:
        """End the mirrors that begin or end at these ports, which are about to be removed."""
        gone = frozenset(names)
        for destination, source in list(self.sources.items()):
            if destination in gone or source in gone:
                try:
                    self._replace("", destination)
                except NftError as error:
                    raise FabricError(f"the mirror to {destination} cannot be ended: {error}") from None
                del self.sources[destination]

    def _replace(self, source: str, destination: str) -> None:
        """In one go; without a source: remove. What is there is looked up: some kernels remove chains with a device."""
        commands: list[dict[str, Any]] = [
            {"delete": {"chain": _place(name)}} for name, found, _ in self._chains() if found == destination
        ]
        if source:
            commands.append({"add": {"table": {"family": FAMILY, "name": TABLE}}})
            for prefix, hook in _HOOKS.items():
                chain = _place(prefix + destination)
                kind = {"type": "filter", "hook": hook, "prio": -300, "policy": "accept", "dev": source}
                rule = {"family": FAMILY, "table": TABLE, "chain": prefix + destination, "comment": source}
                commands.append({"add": {"chain": {**chain, **kind}}})
                commands.append({"add": {"rule": {**rule, "expr": [{"dup": {"addr": destination}}]}}})
        if commands:
            self._nft.apply(commands)

    def _chains(self) -> list[tuple[str, str, str]]:
        """Name, destination and source of each chain.

        The source is in the rule's comment: as JSON the device of a chain is not listed by nftables 1.0.6.
        """
        try:
            items = self._nft.listed(f"table {FAMILY} {TABLE}")
        except NftError:
            return []  # none was ever made
        sources = {rule["chain"]: rule.get("comment", "") for item in items if (rule := item.get("rule"))}
        names = [chain["name"] for item in items if (chain := item.get("chain"))]
        return [
            (name, name.removeprefix(prefix), sources.get(name, ""))
            for name in names
            for prefix in _HOOKS
            if name.startswith(prefix)
        ]


def _place(chain: str) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, "name": chain}
