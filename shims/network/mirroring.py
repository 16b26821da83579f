"""Copies of what passes through a port, both ways, to another port: a pair of nftables chains for each destination."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from shims.network.base import FabricError
from shims.nft import Nft, NftError

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
        self.sources = {destination: source for _, destination, source in self._chains()}
        """By destination."""

    def mirror(self, source: str, destination: str) -> None:
        """See `Fabric.mirror`; takes the place of an earlier mirror to the same destination."""
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
                rule = {"family": FAMILY, "table": TABLE, "chain": prefix + destination}
                commands.append({"add": {"chain": {**chain, **kind}}})
                commands.append({"add": {"rule": {**rule, "expr": [{"dup": {"addr": destination}}]}}})
        if commands:
            self._nft.apply(commands)

    def _chains(self) -> list[tuple[str, str, str]]:
        """Name, destination and source of each chain."""
        found = []
        for item in self._nft.listed(f"chains {FAMILY}"):
            chain = item.get("chain", {})
            for prefix in _HOOKS:
                if chain.get("table") == TABLE and chain["name"].startswith(prefix):
                    found.append((chain["name"], chain["name"].removeprefix(prefix), _device(chain.get("dev", ""))))
        return found


def _place(chain: str) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, "name": chain}


def _device(value: str | list[str]) -> str:
    """Later versions list several."""
    return value if isinstance(value, str) else next(iter(value), "")
