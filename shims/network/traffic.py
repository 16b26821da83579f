"""What is done to the traffic of ports, and learned from it: the parts of the fabric that a kernel may lack."""

from __future__ import annotations

from collections.abc import Sequence

from bus.logs.logs import Log
from bus.messages.network import Shaping
from shims.netlink.netlink import Netlink
from shims.network import shaping
from shims.network.base import Abilities, Addresses, FabricError
from shims.network.learning import Learning
from shims.network.mirroring import Mirroring
from shims.network.nft import Nft, NftError


class Traffic:
    """For the thread that makes it, which is in the fabric; what does not work here is known from the beginning."""

    def __init__(self, netlink: Netlink) -> None:
        """Try everything once."""
        self._netlink = netlink
        self._log = Log("network")
        self._disciplines = shaping.probe(netlink)
        self._learning: Learning | None = None
        self._mirroring: Mirroring | None = None
        self.lacks = shaping.lacking(Shaping(rate_bps=1, delay_us=1), self._disciplines)
        """A sentence for each."""
        self._open_nft()

    def _open_nft(self) -> None:
        try:
            nft = Nft()
        except NftError as error:
            self.lacks.append(f"addresses of guests are not learned, and taps cannot be mirrored: {error}")
            return
        try:
            self._learning = Learning(nft)
        except NftError as error:
            self.lacks.append(f"addresses of guests are not learned: {error}")
        try:
            self._mirroring = Mirroring(nft)
        except NftError as error:
            self.lacks.append(f"taps cannot be mirrored: {error}")

    def abilities(self, *, vlan_filtering: bool) -> Abilities:
        """What was found out, besides what the caller did."""
        return Abilities(
            vlan_filtering=vlan_filtering,
            netem=self._disciplines.netem,
            tbf=self._disciplines.tbf,
            learning=self._learning is not None,
            mirroring=self._mirroring is not None,
            lacks=tuple(self.lacks),
        )

    def shape(self, name: str, wanted: Shaping) -> list[str]:
        """See `Fabric.shape`."""
        return shaping.shape(self._netlink, name, wanted, self._disciplines)

    def mirror(self, source: str, destination: str) -> None:
        """See `Fabric.mirror`."""
        if self._mirroring is None:
            raise FabricError(next(lack for lack in self.lacks if "mirrored" in lack))
        self._mirroring.mirror(source, destination)

    def unmirror(self, destination: str) -> None:
        """See `Fabric.unmirror`."""
        if self._mirroring:
            self._mirroring.unmirror(destination)

    def mirrors(self) -> frozenset[tuple[str, str]]:
        """Source and destination of each, looked up."""
        if self._mirroring is None:
            return frozenset()
        self._mirroring.look()
        return frozenset((source, destination) for destination, source in self._mirroring.sources.items())

    def addresses(self) -> dict[str, Addresses]:
        """See `Fabric.addresses`; ports and others, such as interfaces of the host."""
        if self._learning is None:
            return {}
        try:
            return self._learning.addresses()
        except NftError as error:
            raise FabricError(f"the addresses of guests cannot be read: {error}") from None

    def before_removal(self, names: Sequence[str]) -> None:
        """These ports are going to be removed; raises FabricError."""
        if self._mirroring:
            self._mirroring.forget(names)

    def after_removal(self, names: Sequence[str]) -> None:
        """These ports are gone, or will be others."""
        if self._learning:
            try:
                self._learning.forget(names)
            except NftError as error:
                self._log.warn("addresses_not_forgotten", reason=str(error))
