"""Netspecs, VLANs and MAC addresses as text: what users type for an interface, and how one is printed.

Nothing here knows which aliases exist; the actor `namespace` finds the number for a VLAN that was typed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bus.language.vm_names import MAX_NAME, is_integer, is_valid
from bus.messages.base import WILDCARD
from bus.messages.network import DEFAULT_BRIDGE, Netspec
from bus.messages.vlan import DISCONNECTED, Vlan

MAX_INTERFACES = 64
"""Of one VM."""
MAX_VLAN = 4095
MAX_BRIDGE = 15
"""Characters of a bridge's name, as Linux has it."""
LOOPBACK = "lo"
SEPARATOR = "//"
"""Between the namespace and the alias in a qualified alias."""
UNPLUGGED = "disconnected"
"""In place of a VLAN, in any case: an interface that is plugged in nowhere."""
DRIVERS = (
    "e1000",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82550",
    "i82551",
    "i82557a",
    "i82557b",
    "i82557c",
    "i82558a",
    "i82558b",
    "i82559a",
    "i82559b",
    "i82559c",
    "i82559er",
    "i82562",
    "i82801",
    "igb",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rocker",
    "rtl8139",
    "tulip",
    "usb-net",
    "virtio-net-device",
    "virtio-net-pci",
    "virtio-net-pci-non-transitional",
    "virtio-net-pci-transitional",
    "vmxnet3",
)
"""QEMU's models of network cards. A fixed list, so that a configuration means the same on a host without QEMU."""
EMPTY_VLAN = "VLAN must be non-empty string"
WRONG_NUMBER = "invalid VLAN (0 <= vlan < 4096)"
_EXPECTED_MAC = "a MAC address is six pairs of hexadecimal digits, such as 00:11:22:33:44:55"
_SHOWN = 80
"""Characters of wrong input that an error repeats."""
_LIKENESS = 0.75
"""How much a word must resemble the name of a driver to be taken for a mistyped one."""
_ALMOST_DRIVER = re.compile(r"(virtio|vmxnet|ne2k|e1000|i825|rtl8|pcnet)[a-z0-9_-]*", re.IGNORECASE)
_INTERFACE = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{MAX_BRIDGE - 1}}}")
"""The kernel takes more; but these need no quotes anywhere."""
_GROUPS = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2})*|[0-9a-f]{4}(?:\.[0-9a-f]{4})+", re.IGNORECASE)
_ALMOST_MAC = re.compile(
    r"""
    .*:.*
    | [0-9a-f]{12}
    | [0-9a-z]{1,2} (-[0-9a-z]{1,2}){4,}
    | [0-9a-f]{3,5} (\.[0-9a-f]{3,5}){2}
    | [a-z_-]*mac  # the word itself, as people write it where an address belongs
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MAC_BYTES = 6
_LEAST_MAC = 12
"""Characters of a MAC address."""
_HARDWARE_BYTES = (_MAC_BYTES, 8, 20)
"""Of addresses that are written like a MAC address: of Ethernet, of EUI-64, of InfiniBand."""


class NetspecError(ValueError):
    """No such interface can be; `str()` is one sentence."""


class Parsed(NamedTuple):
    """A netspec as typed, its VLAN not looked up yet."""

    vlan: str
    bridge: str = DEFAULT_BRIDGE
    mac: str = ""
    driver: str = ""


# --- netspecs


def parse_all(texts: Iterable[str]) -> tuple[Parsed, ...]:
    """The interfaces of one VM; raises NetspecError."""
    specs = tuple(parse(text) for text in texts)
    if len(specs) > MAX_INTERFACES:
        raise NetspecError(f"a VM can have {MAX_INTERFACES} network interfaces, not {len(specs)}")
    return specs


def parse(text: str) -> Parsed:
    """One of `vlan`, `vlan,mac`, `vlan,driver`, `bridge,vlan`, `bridge,vlan,mac`, `vlan,mac,driver`,
    `bridge,vlan,driver`, `bridge,vlan,mac,driver`; the first that fits. Raises NetspecError.
    """
    match text.split(","):
        case [vlan]:
            spec = Parsed(vlan)
        case [vlan, mac] if _is_hardware_address(mac):
            spec = Parsed(vlan, mac=mac)
        case [vlan, driver] if driver in DRIVERS:
            spec = Parsed(vlan, driver=driver)
        case [bridge, vlan]:
            _check_no_mistake(text, vlan)
            spec = Parsed(vlan, bridge)
        case [bridge, vlan, mac] if _is_hardware_address(mac):
            spec = Parsed(vlan, bridge, mac)
        case [vlan, mac, driver] if _is_hardware_address(mac):
            spec = Parsed(vlan, mac=mac, driver=_driver(driver))
        case [bridge, vlan, last]:
            if _ALMOST_MAC.fullmatch(last):
                raise NetspecError(f"malformed netspec, invalid mac address: {last[:_SHOWN]}; {_EXPECTED_MAC}")
            spec = Parsed(vlan, bridge, driver=_driver(last))
        case [bridge, vlan, mac, driver]:
            spec = Parsed(vlan, bridge, mac, _driver(driver))
        case _:
            shown = text[:_SHOWN]
            raise NetspecError(f"malformed netspec, `{shown}` has more than the four fields bridge,vlan,mac,driver")
    return _checked(spec, has_mac=bool(spec.mac) or text.count(",") > 2)


def beyond_namespace(texts: Iterable[str], namespace: str) -> str:
    """Why interfaces reach for more than named VLANs of this namespace on the usual bridge; empty if they do not.

    A number may be another namespace's VLAN, now or later, and a bridge may lead out of the host.
    """
    for text in texts:
        try:
            vlan, bridge, _, _ = parse(text)
        except NetspecError:
            continue  # whoever sets it says what is wrong
        owner, separator, _ = vlan.rpartition(SEPARATOR)
        if is_integer(vlan):
            return f"the VLAN {vlan} may be anybody's, while one with a name is this namespace's"
        if separator and owner != namespace:
            return f"the VLAN `{vlan[:_SHOWN]}` is another namespace's"
        if bridge != DEFAULT_BRIDGE:
            return f"the bridge `{bridge}` is the host's"
    return ""


def _checked(spec: Parsed, *, has_mac: bool) -> Parsed:
    """The spec with its defaults and a MAC address in the usual form."""
    for word in (spec.vlan, spec.bridge):
        if _is_hardware_address(word):
            raise NetspecError(f"malformed netspec, `{word}` is a MAC address, which comes after the VLAN")
    check_vlan(spec.vlan)
    bridge = spec.bridge or DEFAULT_BRIDGE
    check_bridge(bridge)
    try:
        mac = normalised_mac(spec.mac) if has_mac else ""
    except NetspecError as error:
        raise NetspecError(f"malformed netspec, {error}") from error
    return Parsed(spec.vlan, bridge, mac, spec.driver)


def _driver(word: str) -> str:
    if word not in DRIVERS:
        raise NetspecError(f"malformed netspec, invalid driver: {word[:_SHOWN]}{_did_you_mean(word)}")
    return word


def _check_no_mistake(text: str, word: str) -> None:
    """Raise NetspecError if the second of two fields was hardly meant to be a VLAN."""
    meant = f"`{text[:_SHOWN]}` would be a VLAN called `{word[:_SHOWN]}` on a bridge"
    if is_integer(word) and len(word) < _LEAST_MAC:
        return
    if _ALMOST_MAC.fullmatch(word):
        raise NetspecError(f"malformed netspec, invalid mac address: {meant}; {_EXPECTED_MAC}")
    if word == "qinq":
        raise NetspecError(f"malformed netspec: {meant}; double tags (qinq) are not possible")
    if _ALMOST_DRIVER.fullmatch(word) or difflib.get_close_matches(word[:_SHOWN], DRIVERS, 1, _LIKENESS):
        raise NetspecError(f"malformed netspec, invalid driver: {meant}{_did_you_mean(word)}")


def _did_you_mean(word: str) -> str:
    near = difflib.get_close_matches(word[:_SHOWN].lower(), DRIVERS, 1, 0.5)
    return f"; did you mean the driver `{near[0]}`?" if near else f"; drivers are {', '.join(DRIVERS)}"


def resolved(spec: Parsed, vlan: Vlan) -> Netspec:
    """A netspec whose VLAN has been looked up; what was typed as a number stays one."""
    alias = "" if is_integer(spec.vlan) else vlan.alias
    return Netspec(bridge=spec.bridge, vlan=vlan.number, alias=alias, mac=spec.mac, driver=spec.driver)


def spec_text(spec: Netspec, labels: Mapping[int, str]) -> str:
    """A netspec as `vm config` prints it: `bridge,VLAN[,mac][,driver]`; `labels` from `vlan_labels`."""
    vlan = UNPLUGGED if spec.vlan == DISCONNECTED else _spec_vlan(spec, labels)
    return ",".join(filter(None, (spec.bridge, vlan, spec.mac, spec.driver)))


def _spec_vlan(spec: Netspec, labels: Mapping[int, str]) -> str:
    """An alias that was forgotten has no number until the launch; its old one may be another's meanwhile."""
    label = labels.get(spec.vlan, "")
    if not spec.alias:
        return label or str(spec.vlan)
    own = spec.alias.rpartition(SEPARATOR)[2]
    return label if label in (f"{own} ({spec.vlan})", f"{spec.alias} ({spec.vlan})") else spec.alias


# --- VLANs


def check_vlan(text: str) -> None:
    """Raise NetspecError unless the text can stand for a VLAN: a number, an alias, a qualified alias."""
    if not text:
        raise NetspecError(EMPTY_VLAN)
    if is_integer(text):
        vlan_number(text)
    elif not is_unplugged(text):
        qualified(text, "x")


def is_unplugged(text: str) -> bool:
    """Whether the text says that an interface is to be plugged in nowhere."""
    return text.lower() == UNPLUGGED


def vlan_number(text: str) -> int:
    """The number of a VLAN that was typed as one; raises NetspecError."""
    if len(text) > MAX_NAME or not 0 <= int(text) <= MAX_VLAN:
        raise NetspecError(WRONG_NUMBER)
    return int(text)


def qualified(text: str, namespace: str) -> str:
    """The alias with its namespace before it, which is the given one unless it names another; raises NetspecError."""
    head, separator, alias = text.rpartition(SEPARATOR)
    if not separator:
        head = namespace
    if not is_valid(head) or head == WILDCARD:
        shown = text[:_SHOWN]
        raise NetspecError(f"invalid VLAN alias, `{shown}` is not `alias` or `namespace{SEPARATOR}alias`")
    if not alias or len(alias) > MAX_NAME or not alias.isprintable() or any(char in alias for char in " ,/"):
        allowed = f"1 to {MAX_NAME} characters without blanks, commas and slashes"
        raise NetspecError(f"invalid VLAN alias, `{alias[:_SHOWN]}` is not {allowed}")
    if is_integer(alias) or alias == WILDCARD or is_unplugged(alias):
        raise NetspecError(f"invalid VLAN alias, `{alias[:_SHOWN]}` is a number or a reserved word")
    return f"{head}{SEPARATOR}{alias}"


def vlan_labels(aliases: Mapping[str, int], namespace: str) -> dict[int, str]:
    """What to print for numbers that have an alias: `LAN (101)`, with the namespace before it if it is another one.

    For many VLANs this is made once; for a single one there is `vlan_text`.
    """
    own = f"{namespace}{SEPARATOR}"
    return {number: f"{name.removeprefix(own)} ({number})" for name, number in aliases.items()}


def vlan_text(number: int, aliases: Mapping[str, int], namespace: str) -> str:
    """A VLAN as users read it: `LAN (101)`, `foo//LAN (103)`, the bare number, or `disconnected`."""
    return UNPLUGGED if number == DISCONNECTED else vlan_labels(aliases, namespace).get(number, str(number))


# --- bridges and MAC addresses


def check_bridge(name: str, what: str = "bridge") -> None:
    """Raise NetspecError if no bridge can be called so; `what` is how the sentence calls it."""
    if name == WILDCARD:
        raise NetspecError(f"`{WILDCARD}` is a reserved word -- cannot use for {what} name")
    if name == LOOPBACK:
        raise NetspecError(f"invalid {what} name, every network namespace has an interface `{LOOPBACK}`")
    if not _INTERFACE.fullmatch(name):
        allowed = f"1 to {MAX_BRIDGE} letters, digits, `_`, `-` and `.`, the last two not at the beginning"
        raise NetspecError(f"invalid {what} name, `{name[:_SHOWN]}` is not {allowed}")


def normalised_mac(text: str) -> str:
    """A MAC address in lower case with colons, of pairs with `:` or `-` or fours with `.`; raises NetspecError."""
    if not _is_hardware_address(text):
        raise NetspecError(f"invalid mac address: {text[:_SHOWN]}; {_EXPECTED_MAC}")
    octets = _octets(text)
    if len(octets) != _MAC_BYTES:
        raise NetspecError(f"invalid mac address: {text} has {8 * len(octets)} bits, that of an Ethernet card has 48")
    if octets[0] & 1 or not any(octets):
        raise NetspecError(f"invalid mac address: {text} cannot be that of a single card, it is for groups or empty")
    return octets.hex(":")


def _is_hardware_address(text: str) -> bool:
    return len(text) <= _SHOWN and _GROUPS.fullmatch(text) is not None and len(_octets(text)) in _HARDWARE_BYTES


def _octets(text: str) -> bytes:
    return bytes.fromhex(re.sub("[:.-]", "", text))
