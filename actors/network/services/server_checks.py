"""What can be asked of dnsmasq servers, judged by the words of the request and by the other servers. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from actors.network.names import mac_problem, shown
from bus.messages.dnsmasq import ConfigureDnsmasq, StartDnsmasq

MAX_SERVERS = 256
MAX_ENTRIES = 10_000
MAX_OPTION = 255
MAX_PATH = 1024
NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*")

Range = tuple[int, str, str, str]
"""Number, address, first and last address to be given, of another server."""
Known = tuple[int, str, Mapping[str, str], Mapping[str, str], Sequence[str]]
"""Number, network, kept addresses, names and options of a server."""


def start_problem(body: StartDnsmasq, others: Sequence[Range]) -> str:
    """Why a server cannot be started so; empty if it can, as far as words tell."""
    if body.config and (
        not body.config.startswith("/") or len(body.config) > MAX_PATH or not body.config.isprintable()
    ):
        return f"`{shown(body.config)}` is no absolute path of a configuration file"
    if not (body.address or body.low or body.high):
        return "" if body.config else "a server needs an address and a range, or a configuration file"
    for what, text in (("listen address", body.address), ("first address", body.low), ("last address", body.high)):
        if problem := address_problem(text, what):
            return problem
    low, high = IPv4Address(body.low), IPv4Address(body.high)
    if low > high:
        return f"the range is empty: {low} is above {high}"
    for id_, address, other_low, other_high in others:
        if not address:
            continue
        if address == body.address:
            return f"dnsmasq {id_} listens on {address} already"
        if IPv4Address(other_low) <= high and low <= IPv4Address(other_high):
            return f"the range overlaps with {other_low} to {other_high} of dnsmasq {id_}"
    return ""


def address_problem(text: str, what: str) -> str:
    """Why this cannot be the address of a host; empty if it can."""
    try:
        address = IPv4Address(text)
    except ValueError:
        return f"invalid {what} `{shown(text)}`: expected an IPv4 address such as 10.0.0.1"
    if address.is_multicast or address.is_unspecified or address.is_loopback or int(address) == 0xFFFFFFFF:
        return f"invalid {what} `{text}`: it is no host's"
    return ""


def configure_problem(body: ConfigureDnsmasq, servers: Sequence[Known]) -> str:
    """Why this cannot be an entry of these servers; empty if it can."""
    given = [bool(body.mac), bool(body.name), bool(body.option), bool(body.upstream)]
    if sum(given) != 1 or bool(body.ip) != (bool(body.mac) or bool(body.name)):
        return (
            "an entry is a hardware address with an address, a name with an address, an option, or an upstream server"
        )
    if problem := _words_problem(body):
        return problem
    for id_, network, fixed, names, options in servers:
        if max(len(fixed), len(names), len(options)) >= MAX_ENTRIES:
            return f"dnsmasq {id_} has {MAX_ENTRIES} entries already"
        if not body.mac:
            continue
        if network and IPv4Address(body.ip) not in ipaddress.ip_network(network):
            return f"{body.ip} is not within {network}, the network of dnsmasq {id_}"
        owner = next((mac for mac, ip in fixed.items() if ip == body.ip and mac != key_of(body.mac)), "")
        if owner:
            return f"{body.ip} is kept for {owner} already, in dnsmasq {id_}"
    return ""


def _words_problem(body: ConfigureDnsmasq) -> str:
    if body.mac:
        return mac_problem(key_of(body.mac)) or address_problem(body.ip, "address")
    if body.name:
        if not NAME.fullmatch(body.name):
            return f"`{shown(body.name)}` is no name of a host"
        return any_address_problem(body.ip)
    if body.upstream:
        return any_address_problem(body.upstream)
    if len(body.option) > MAX_OPTION or not body.option.isprintable() or body.option[:1] in "#- ":
        return f"`{shown(body.option)}` is no DHCP option: expected one such as option:router,10.0.0.1"
    return ""


def any_address_problem(text: str) -> str:
    """Why this is no address of either family; empty if it is."""
    try:
        if len(text) <= 64 and "%" not in text:
            ipaddress.ip_address(text)
            return ""
    except ValueError:
        pass
    return f"invalid address `{shown(text)}`: expected one such as 10.0.0.1 or fd00::1"


def key_of(mac: str) -> str:
    """A hardware address as it is kept: lower case with colons."""
    return mac.lower().replace("-", ":")
