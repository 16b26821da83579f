"""VMs as table rows: `vm info`, `vm top`, `vm tag`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from bus.messages.vm import GuestKind, VmInfo, VmList, VmUsage, VmUsages
from cli.commands.declare import Answer, Args, Both
from cli.duration import format_duration
from cli.response import Row

NOT_APPLICABLE = "N/A"
MIB = 1024 * 1024

Cell = Callable[[VmInfo], str]


def _json(mapping: dict[str, str]) -> str:
    return msgspec.json.encode(mapping, order="sorted").decode()


def _list(words: Sequence[str]) -> str:
    return f"[{' '.join(words)}]"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _per_interface(vm: VmInfo) -> str:
    """A value per interface, none of them known."""
    return f"[{', '.join('' for _ in vm.config.networks)}]"


def _only(kind: GuestKind, cell: Cell) -> Cell:
    return lambda vm: cell(vm) if vm.kind is kind else NOT_APPLICABLE


def _kvm(cell: Cell) -> Cell:
    return _only(GuestKind.KVM, cell)


def _container(cell: Cell) -> Cell:
    return _only(GuestKind.CONTAINER, cell)


COLUMNS: dict[str, Cell] = {
    "id": lambda vm: str(vm.vm_id),
    "name": lambda vm: vm.name,
    "state": lambda vm: vm.state.value,
    "uptime": lambda vm: format_duration(vm.uptime_s),
    "type": lambda vm: vm.kind.value,
    "uuid": lambda vm: vm.uuid,
    "cc_active": lambda vm: NOT_APPLICABLE,
    "vlan": _per_interface,
    "bridge": _per_interface,
    "tap": _per_interface,
    "mac": _per_interface,
    "ip": _per_interface,
    "ip6": _per_interface,
    "qos": lambda vm: "[]",
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
"""All columns of `vm info` in their order; those of subsystems that a VM does not use are empty.

Whether an agent is connected (`cc_active`) only the actor `cc` knows.
"""

SUMMARY = ("id", "name", "state", "type", "uuid", "cc_active", "vlan")


def vm_info(both: Both, args: Args) -> Answer:
    """The table of `vm info [summary]`, with the VM objects for programs, of a VmList and ConnectedGuests."""
    vms: Sequence[VmInfo] = both.reply.vms
    header = SUMMARY if args.has("summary") else tuple(COLUMNS)
    columns = COLUMNS if both.also is None else {**COLUMNS, "cc_active": _is_among(frozenset(both.also.uuids))}
    cells = [columns[name] for name in header]
    rows = [tuple(cell(vm) for cell in cells) for vm in vms]
    return Answer(header=header, rows=rows, data=[msgspec.to_builtins(vm) for vm in vms])


def _is_among(uuids: frozenset[str]) -> Cell:
    return lambda vm: _bool(vm.uuid in uuids)


def _usage_row(usage: VmUsage) -> Row:
    sizes = (usage.virt_bytes, usage.res_bytes, usage.shr_bytes)
    return (
        usage.name,
        *(str(size // MIB) for size in sizes),
        f"{usage.cpu_percent:.2f}",
        f"{usage.vcpu_percent:.2f}",
        format_duration(int(usage.time_s)),
        str(usage.processes),
        f"{usage.rx_mbps:.2f}",
        f"{usage.tx_mbps:.2f}",
    )


def vm_top(reply: VmUsages, args: Args) -> Answer:
    """The table of `vm top`; sizes in MiB, rates in MB/s."""
    header = ("name", "virt", "res", "shr", "cpu", "vcpu", "time", "procs", "rx", "tx")
    return Answer(header=header, rows=[_usage_row(usage) for usage in reply.usages])


def vm_tags(reply: VmList, args: Args) -> Answer:
    """All tags of the targets, or the value of one tag, empty where it is not set."""
    key = args.text("key", "all")
    if key != "all":
        return Answer(header=("name", "value"), rows=[(vm.name, vm.tags.get(key, "")) for vm in reply.vms])
    rows = [(vm.name, tag, value) for vm in reply.vms for tag, value in sorted(vm.tags.items())]
    return Answer(header=("name", "tag", "value"), rows=rows)
