"""Which hardware addresses are in use in which segment: two guests with the same one would get each other's traffic."""

from __future__ import annotations

from collections.abc import Iterable

from actors.network.table import Guest, NetworkTable, Nic

Place = tuple[str, int, str]
"""Bridge, VLAN and hardware address."""


class Occupied:
    """Those of guests that live, and of those that are being plugged in. Others may come back, or never."""

    def __init__(self, table: NetworkTable) -> None:
        self._users: dict[Place, tuple[str, Guest]] = {
            (nic.bridge, nic.vlan, nic.mac): (nic.tap, guest) for guest, _, nic in table.places() if nic.is_up
        }

    def claim(self, guest: Guest, nics: Iterable[Nic]) -> str:
        """Take the places of all these interfaces, or of none; returns why it cannot be, in one sentence."""
        mine: dict[Place, tuple[str, Guest]] = {}
        for nic in nics:
            if nic.segment is None:
                continue
            place = (nic.bridge, nic.vlan, nic.mac)
            user = mine.get(place) or self._users.get(place)
            if user is not None and user[0] != nic.tap:
                whose = _whose(user[1], guest)
                where = f"in VLAN {nic.vlan} of {nic.bridge}"
                return f"{whose} the same hardware address {nic.mac} {where}, where each needs one of its own"
            mine[place] = (nic.tap, guest)
        self._users |= mine
        return ""


def _whose(user: Guest, guest: Guest) -> str:
    if user.namespace != guest.namespace:
        return "a VM of another namespace has"  # by what name is not for whoever is limited to this one
    return "two of its interfaces have" if user.name == guest.name else f"VM {user.name} has"
