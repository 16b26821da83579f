"""VMs as table rows: `vm info`, `vm top`, `vm tag`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from bus.language.netspec import UNPLUGGED, vlan_labels
from bus.language.shaping_text import qos_text
from bus.messages.cc import ConnectedGuests
from bus.messages.network import GuestRates, Interface, InterfaceList, Rates
from bus.messages.vlan import DISCONNECTED, VlanTable
from bus.messages.vm import GuestKind, VmInfo, VmList, VmUsage, VmUsages
from cli.answers.duration import format_duration
from cli.answers.response import Row
from cli.commands.declare import Answer, Args, Both
from cli.commands.network.vlan_names import labels

NOT_APPLICABLE = "N/A"
MIB = 1024 * 1024

Cell = Callable[[VmInfo], str]
Interfaces = Callable[[VmInfo], Sequence[Interface]]


def _json(mapping: dict[str, str]) -> str:
    return msgspec.json.encode(mapping, order="sorted").decode()


def _commas(words: Iterable[str]) -> str:
    return f"[{', '.join(words)}]"


def _list(words: Sequence[str]) -> str:
    return f"[{' '.join(words)}]"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _only(kind: GuestKind, cell: Cell) -> Cell:
    return lambda vm: cell(vm) if vm.kind is kind else NOT_APPLICABLE


def _kvm(cell: Cell) -> Cell:
    return _only(GuestKind.KVM, cell)


def _container(cell: Cell) -> Cell:
    return _only(GuestKind.CONTAINER, cell)


def as_configured(vm: VmInfo) -> Sequence[Interface]:
    """The interfaces of a VM of which the actor `network` says nothing: it is away, or has never plugged it in."""
    return tuple(
        Interface(
            tap="",
            bridge="" if spec.vlan == DISCONNECTED else spec.bridge,
            vlan=spec.vlan,
            mac=spec.mac,
            driver=spec.driver,
        )
        for spec in vm.config.networks
    )


def interface_columns(interfaces: Interfaces, vlans: Mapping[int, str]) -> dict[str, Cell]:
    """The columns with a value for each interface; `vlans` is what to print for numbers that have an alias."""
    names = {**vlans, DISCONNECTED: UNPLUGGED}

    def column(value: Callable[[Interface], str]) -> Cell:
        return lambda vm: _commas(value(interface) for interface in interfaces(vm))

    return {
        "vlan": column(lambda interface: names.get(interface.vlan) or str(interface.vlan)),
        "bridge": column(lambda interface: interface.bridge),
        "tap": column(lambda interface: interface.tap),
        "mac": column(lambda interface: interface.mac),
        "ip": column(lambda interface: interface.ip),
        "ip6": column(lambda interface: interface.ip6),
        "qos": lambda vm: qos_text(interface.shaping for interface in interfaces(vm)),
    }


COLUMNS: dict[str, Cell] = {
    "id": lambda vm: str(vm.vm_id),
    "name": lambda vm: vm.name,
    "state": lambda vm: vm.state.value,
    "uptime": lambda vm: format_duration(vm.uptime_s),
    "type": lambda vm: vm.kind.value,
    "uuid": lambda vm: vm.uuid,
    "cc_active": lambda vm: NOT_APPLICABLE,
    **interface_columns(as_configured, {}),
    "memory": lambda vm: str(vm.config.memory_mib),
    "vcpus": lambda vm: str(vm.config.vcpus),
    "disk": _kvm(lambda vm: _list(vm.config.disks)),
    "snapshot": lambda vm: _bool(vm.config.snapshot),
    "initrd": _kvm(lambda vm: vm.config.initrd),
    "kernel": _kvm(lambda vm: vm.config.kernel),
    "cdrom": _kvm(lambda vm: vm.config.cdrom),
    "migrate": _kvm(lambda vm: vm.config.migrate),
    "append": _kvm(lambda vm: _list(vm.config.append)),
    "serial-ports": _kvm(lambda vm: str(vm.config.serial_ports)),
    "virtio-ports": _kvm(lambda vm: str(vm.config.virtio_ports)),
    "vnc_port": _kvm(lambda vm: str(vm.vnc_port)),
    "pid": lambda vm: str(vm.pid),
    "filesystem": _container(lambda vm: vm.config.filesystem),
    "hostname": _container(lambda vm: vm.config.hostname or vm.name),
    "init": _container(lambda vm: _list(vm.config.init)),
    "preinit": _container(lambda vm: vm.config.preinit),
    "fifo": _container(lambda vm: str(vm.config.fifos)),
    "volume": _container(lambda vm: _json(vm.config.volumes)),
    "console_port": _container(lambda vm: str(vm.console_port)),
    "tags": lambda vm: _json(vm.tags),
}
"""All columns of `vm info` in their order, as far as the VM alone tells.

Whether an agent is connected (`cc_active`) only the actor `cc` knows; `network` knows what became of interfaces.
"""

SUMMARY = ("id", "name", "state", "type", "uuid", "cc_active", "vlan")


Facts = tuple[ConnectedGuests | None, InterfaceList | None, VlanTable | None]
"""What others say of VMs; None of those that did not answer."""


def vm_info(both: Both, args: Args) -> Answer:
    """The table of `vm info [summary]`, with the VM objects for programs, of a VmList and `Facts`."""
    vms: Sequence[VmInfo] = both.reply.vms
    connected, listed, vlans = both.also
    header = SUMMARY if args.has("summary") else tuple(COLUMNS)
    interfaces = known_interfaces(listed)
    names = labels(vlans) if vlans is not None else _own_labels(vms)
    columns = {**COLUMNS, **interface_columns(interfaces, names)}
    if connected is not None:
        columns["cc_active"] = _is_among(frozenset(connected.uuids))
    cells = [columns[name] for name in header]
    rows = [tuple(cell(vm) for cell in cells) for vm in vms]
    return Answer(header=header, rows=rows, data=[_data(vm, interfaces(vm)) for vm in vms])


def _own_labels(vms: Sequence[VmInfo]) -> dict[int, str]:
    """By the configurations alone: for a key that is limited to namespaces, which may not see everybody's VLANs."""
    labelled: dict[int, str] = {}
    for vm in vms:
        labelled |= vlan_labels({spec.alias: spec.vlan for spec in vm.config.networks if spec.alias}, vm.namespace)
    return labelled


def known_interfaces(listed: InterfaceList | None) -> Interfaces:
    """The interfaces of a VM as `network` says, as configured where it says nothing."""
    by_id = {guest.vm_id: guest.interfaces for guest in listed.guests} if listed is not None else {}
    return lambda vm: by_id.get(vm.vm_id) or as_configured(vm)


def _data(vm: VmInfo, interfaces: Sequence[Interface]) -> dict[str, object]:
    return {**msgspec.to_builtins(vm), "interfaces": msgspec.to_builtins(interfaces)}


def _is_among(uuids: frozenset[str]) -> Cell:
    return lambda vm: _bool(vm.uuid in uuids)


def _usage_row(usage: VmUsage, rates: GuestRates | None) -> Row:
    sizes = (usage.virt_bytes, usage.res_bytes, usage.shr_bytes)
    return (
        usage.name,
        *(str(size // MIB) for size in sizes),
        f"{usage.cpu_percent:.2f}",
        f"{usage.vcpu_percent:.2f}",
        format_duration(int(usage.time_s)),
        str(usage.processes),
        f"{rates.rx_mbps if rates else 0.0:.2f}",
        f"{rates.tx_mbps if rates else 0.0:.2f}",
    )


def vm_top(both: Both, args: Args) -> Answer:
    """The table of `vm top`, of VmUsages and Rates; sizes in MiB, rates in MB/s."""
    header = ("name", "virt", "res", "shr", "cpu", "vcpu", "time", "procs", "rx", "tx")
    usages: VmUsages = both.reply
    rates: Rates | None = both.also
    by_id = {} if rates is None else {one.vm_id: one for one in rates.vms}
    return Answer(header=header, rows=[_usage_row(usage, by_id.get(usage.vm_id)) for usage in usages.usages])


def vm_tags(reply: VmList, args: Args) -> Answer:
    """All tags of the targets, or the value of one tag, empty where it is not set."""
    key = args.text("key", "all")
    if key != "all":
        return Answer(header=("name", "value"), rows=[(vm.name, vm.tags.get(key, "")) for vm in reply.vms])
    rows = [(vm.name, tag, value) for vm in reply.vms for tag, value in sorted(vm.tags.items())]
    return Answer(header=("name", "tag", "value"), rows=rows)
