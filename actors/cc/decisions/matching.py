"""Which guests a filter means. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from typing import Final

from actors.cc.table import Command, Guest, Ledger, Vm
from bus.language import ranges
from bus.language.netspec import SEPARATOR, vlan_text
from bus.messages.cc import GuestFilter
from bus.messages.network import Interface
from bus.messages.vlan import VlanTable
from bus.messages.vm import GuestKind, VmInfo

MAX_NAMES: Final = 10_000
"""That a filter may list."""
COLUMNS: Final = (
    "id", "name", "state", "type", "namespace", "host", "vcpus", "memory", "snapshot", "filesystem", "preinit", "qemu",
    "kernel", "initrd", "cdrom", "migrate", "vlan", "bridge", "tap", "ip6",
)  # fmt: skip
"""Of `vm info`, that a filter may name besides the fields of its own."""


INTERFACE_COLUMNS: Final = ("vlan", "bridge", "tap", "ip6")
"""Those that are about the interfaces of a VM: one of them must be what the filter says."""


def interfaces_of(interfaces: Sequence[Interface], vlans: VlanTable) -> dict[str, tuple[str, ...]]:
    """For each of these columns what a filter may say: a VLAN goes by number, by name, and as `vm info` writes it."""
    words: dict[str, set[str]] = {name: set() for name in INTERFACE_COLUMNS}
    for interface in interfaces:
        words["bridge"].add(interface.bridge)
        words["tap"].add(interface.tap)
        words["ip6"].add(interface.ip6)
        words["vlan"] |= {str(interface.vlan), vlan_text(interface.vlan, vlans.aliases, vlans.namespace)}
        names = {name for name, number in vlans.aliases.items() if number == interface.vlan}
        words["vlan"] |= names | {name.removeprefix(f"{vlans.namespace}{SEPARATOR}") for name in names}
    return {name: tuple(sorted(found - {""})) for name, found in words.items()}


def columns_of(vm: VmInfo) -> dict[str, str]:
    """The columns of a VM that filters may name, written as `vm info` writes them."""
    config = vm.config
    container = vm.kind is GuestKind.CONTAINER
    values = {
        "id": str(vm.vm_id),
        "name": vm.name,
        "state": vm.state.value,
        "type": vm.kind.value,
        "namespace": vm.namespace,
        "host": vm.host,
        "vcpus": str(config.vcpus),
        "memory": str(config.memory_mib),
        "snapshot": str(config.snapshot).lower(),
        "filesystem": config.filesystem if container else "",
        "preinit": config.preinit if container else "",
        "qemu": "" if container else config.qemu,
        "kernel": "" if container else config.kernel,
        "initrd": "" if container else config.initrd,
        "cdrom": "" if container else config.cdrom,
        "migrate": "" if container else config.migrate,
    }
    return {name: value for name, value in values.items() if value}


def problem(wanted: GuestFilter | None) -> str:
    """Why a filter cannot be judged; empty if it can."""
    if wanted is None:
        return ""
    if wanted.ip:
        try:
            ipaddress.ip_network(wanted.ip, strict=False)
        except ValueError:
            return f"`{wanted.ip}` is neither an IP address nor a network such as 10.0.0.0/8"
    for column, value in wanted.columns:
        if column not in COLUMNS:
            return (
                f"guests cannot be chosen by the column `{column}`, only by {', '.join(COLUMNS)}; "
                f"a tag of that name is meant by tag={column}:VALUE"
            )
        if column == "name":
            try:
                ranges.expand(value, max_names=MAX_NAMES)
            except ranges.RangeError as error:
                return str(error)
    return ""


def matches(wanted: GuestFilter | None, guest: Guest) -> bool:
    """Whether the filter means this guest. What an agent has not told yet matches nothing."""
    if wanted is None:
        return True
    facts = guest.facts
    plain = (
        (wanted.uuid.lower(), guest.vm.uuid),
        (wanted.hostname, facts.hostname),
        (wanted.arch, facts.arch),
        (wanted.os, facts.os),
    )
    return (
        all(value in ("", there) for value, there in plain)
        and (not wanted.mac or wanted.mac.lower() in facts.macs)
        and (not wanted.ip or _has_ip(wanted.ip, facts.ips))
        and all(_is(guest.vm, column, value) for column, value in wanted.columns)
        and all(guest.vm.tags.get(tag, "") == value for tag, value in wanted.tags)
    )


def _is(vm: Vm, column: str, value: str) -> bool:
    if column == "name":
        return vm.name == value or vm.name in _names(value)
    if column not in INTERFACE_COLUMNS:
        return vm.columns.get(column, "") == value
    there = vm.interfaces.get(column, ())
    return value in there or (column == "ip6" and _has_ip(value, there))


@functools.lru_cache(maxsize=64)
def _names(text: str) -> frozenset[str]:
    """The names that a list with ranges stands for; no VM has a name that is one."""
    try:
        return frozenset(ranges.expand(text, max_names=MAX_NAMES))
    except ranges.RangeError:
        return frozenset()


def _has_ip(wanted: str, ips: tuple[str, ...]) -> bool:
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False
    for ip in ips:
        try:
            address = ipaddress.ip_address(ip.partition("%")[0])
        except ValueError:
            continue  # an agent may say what it likes
        if address.version == network.version and address in network:
            return True
    return False


def means(command: Command, guest: Guest) -> bool:
    """Whether a guest that has not begun a command is to do it."""
    return command.listed and not command.cancelled and not guest.flushed and matches(command.filter, guest)


def meant(ledger: Ledger, command: Command) -> list[Guest]:
    """Guests that have not begun a command and are to do it."""
    return [guest for uuid, guest in ledger.guests.items() if uuid not in command.guests and means(command, guest)]
