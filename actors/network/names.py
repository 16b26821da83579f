"""Names of bridges, taps and hardware addresses: which are possible, which are given."""

from __future__ import annotations

import random
import re
from collections.abc import Container, Iterable

from actors.network.table import NetworkTable, bridges_in_use
from bus.language.netspec import NetspecError, check_bridge
from bus.messages.network import DEFAULT_BRIDGE
from bus.messages.vlan import DISCONNECTED

MAX_VLAN = 4095
MAX_SHOWN = 64
TAP_PREFIX = "mega_tap"
MAX_SENTENCE = 400
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
ZERO_MAC = "00:00:00:00:00:00"
VENDORS = (
    "00:0a:f7",  # Broadcom
    "00:0c:29",  # VMware
    "00:10:18",  # Broadcom
    "00:14:22",  # Dell
    "00:15:17",  # Intel
    "00:16:3e",  # XenSource
    "00:1b:21",  # Intel
    "00:1f:29",  # Hewlett Packard
    "00:e0:4c",  # Realtek
    "18:03:73",  # Dell
    "90:e2:ba",  # Intel
    "a0:36:9f",  # Intel
)
"""Prefixes of makers of network cards, from the registry of the IEEE: guests are to look like machines."""


def shown(text: str, most: int = MAX_SHOWN) -> str:
    """A text of somebody else's, as it may stand in a sentence."""
    return text[:most].encode("unicode_escape").decode("ascii")


def name_problem(name: str, what: str) -> str:
    """Why this cannot be the name of a bridge, a tap or an interface (`what`); empty if it can."""
    try:
        check_bridge(name, what)
    except NetspecError as error:
        return shown(str(error), MAX_SENTENCE)
    return ""


def vlan_problem(vlan: int) -> str:
    """Why this is no VLAN; empty if it is."""
    return "" if 0 <= vlan <= MAX_VLAN else f"invalid VLAN (0 <= vlan < {MAX_VLAN + 1})"


def bridge_problem(table: NetworkTable, name: str) -> str:
    """Why nothing can be plugged into a bridge of this name, as far as the table knows; empty if it can."""
    if name in table.taps:
        return f"{name} is a host tap and no bridge"
    return name_problem(name, "bridge")


def new_bridges(table: NetworkTable, names: Iterable[str], *, besides: Container[str] = ()) -> tuple[str, ...]:
    """Those that must not be names of interfaces of the host: whoever plugs into `docker0` means that one.

    They are new if nothing but the interfaces `besides` is plugged into them. The default bridge is excepted, because
    minimega may have one of that name on the same host.
    """
    return tuple(sorted(set(names) - bridges_in_use(table, besides=besides) - {DEFAULT_BRIDGE, ""}))


def no_bridge_of_ours(name: str) -> str:
    """The sentence for a bridge that is an interface of the host."""
    return f"{name} is an interface of this host and no bridge of minibus; `bridge trunk` plugs it into one"


def mac_problem(mac: str) -> str:
    """Why this cannot be the hardware address of an interface; empty if it can."""
    if not MAC.fullmatch(mac):
        return f"`{shown(mac)}` is no hardware address: expected six pairs of digits, e.g. 00:16:3e:12:34:56"
    if mac == ZERO_MAC or int(mac[:2], 16) & 1:
        return f"{mac} cannot be the address of an interface: it is that of a group, or of nobody"
    return ""


def segment_problem(table: NetworkTable, bridge: str, vlan: int) -> str:
    """Why an interface cannot be plugged in there; empty if it can."""
    if vlan == DISCONNECTED:
        return ""
    return vlan_problem(vlan) or bridge_problem(table, bridge)


class Names:
    """Gives names and addresses to interfaces, each only once on this host."""

    def __init__(self, table: NetworkTable, seed: int) -> None:
        self._table = table
        self._taps: Container[str] = set(table.taps)
        self._macs = {nic.mac for _, _, nic in table.places()}
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def tap(self) -> str:
        """The next name for a device."""
        while True:
            name = f"{TAP_PREFIX}{self._table.next_tap}"
            self._table.next_tap += 1
            if name not in self._taps:
                return name

    def mac(self, wanted: str) -> str:
        """The address that is wanted, or a new one."""
        mac = wanted or self._new_mac()
        while not wanted and mac in self._macs:
            mac = self._new_mac()
        self._macs.add(mac)
        return mac

    def _new_mac(self) -> str:
        rest = self._random.getrandbits(24).to_bytes(3)
        return f"{self._random.choice(VENDORS)}:{rest[0]:02x}:{rest[1]:02x}:{rest[2]:02x}"
