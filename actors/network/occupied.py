"""Which hardware addresses are in use in which segment: two guests with the same one would get each other's traffic."""

from __future__ import annotations

from collections.abc import Iterable

from actors.network.table import Guest, NetworkTable, Nic

Place = tuple[str, int, str]
"""Bridge, VLAN and hardware address."""


class Occupied:
    """Those of guests that live, and of those that are being plugged in. Others may come back, or never."""

    def __init__(self, table: NetworkTable) -> None:
        self._users: dict[Place, tuple[str, str]] = {
            (nic.bridge, nic.vlan, nic.mac): (nic.tap, guest.name) for guest, _, nic in table.places() if nic.is_up
        }

    def claim(self, guest: Guest, nics: Iterable[Nic]) -> str:
        """Take the places of all these interfaces, or of none; returns why it cannot be, in one sentence."""
        mine: dict[Place, tuple[str, str]] = {}
        for nic in nics:
            if nic.segment is None:
                continue
            place = (nic.bridge, nic.vlan, nic.mac)
            user = mine.get(place) or self._users.get(place)
            if user is not None and user[0] != nic.tap:
                whose = "two of its interfaces have" if user[1] == guest.name else f"VM {user[1]} has"
                where = f"in VLAN {nic.vlan} of {nic.bridge}"
                return f"{whose} the same hardware address {nic.mac} {where}, where each needs one of its own"
            mine[place] = (nic.tap, guest.name)
        self._users |= mine
        return ""
