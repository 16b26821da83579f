"""`vm net`: interfaces of VMs that exist are plugged in elsewhere, unplugged, or added."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from bus.errors import BusError, OutcomeUnknownError
from bus.language.netspec import MAX_INTERFACES, NetspecError, check_bridge, check_vlan, parse_all, resolved
from bus.language.vm_names import is_integer
from bus.messages.network import AddInterfaces, ConnectInterfaces, GetInterfaces, GuestInterfaces
from bus.messages.vlan import DISCONNECTED, Vlan
from bus.messages.vm import VmInfo, WireVms
from cli.answers.response import Group
from cli.commands.declare import QUICK_S, Answer, Call, Command, CommandError, Scope
from cli.commands.network.vlan_names import give_back, look_up
from cli.commands.vm.life_cycle import TARGET_HELP
from cli.commands.vm.targets import further, interface_report, nic_of, on_targets

MAX_DIGITS = 9
CONNECT_S = 120.0
"""Hundreds of interfaces, behind a launch."""


def position_of(call: Call) -> int:
    """Which interface is meant; raises CommandError."""
    text = call.args.text("position")
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise CommandError(f"invalid network position `{text[:80]}`: interfaces are numbered 0, 1, 2, ...")
    return int(text)


async def _connect(call: Call) -> AsyncIterator[Group]:
    position, bridge, vlan = position_of(call), call.args.text("bridge"), call.args.text("vlan")
    try:
        check_vlan(vlan)
        if call.args.has("bridge"):
            check_bridge(bridge)
    except NetspecError as error:
        raise CommandError(str(error)) from error

    async def connect(host: str, vms: Sequence[VmInfo]) -> Answer:
        # First of all: what fails must not give a number to an alias.
        await _check_position(call, host, vms, position)
        (found,) = await look_up(call, [vlan])
        if is_integer(vlan):
            found = msgspec.structs.replace(found, alias="")
        return await _move(call, host, vms, position, found, bridge)

    yield await on_targets(call, connect)


async def _disconnect(call: Call) -> AsyncIterator[Group]:
    position = position_of(call)

    async def disconnect(host: str, vms: Sequence[VmInfo]) -> Answer:
        await _check_position(call, host, vms, position)
        return await _move(call, host, vms, position, Vlan(number=DISCONNECTED))

    yield await on_targets(call, disconnect)


async def _move(call: Call, host: str, vms: Sequence[VmInfo], position: int, vlan: Vlan, bridge: str = "") -> Answer:
    vms_ = tuple(map(nic_of, vms))
    request = ConnectInterfaces(vms=vms_, index=position, vlan=vlan.number, alias=vlan.alias, bridge=bridge)
    return await _plug_in(call, host, request, [vlan])


async def _add(call: Call) -> AsyncIterator[Group]:
    if not call.args.words("netspec"):
        raise CommandError("which interfaces? expected netspecs, such as `LAN` or `br2,100`")
    try:
        specs = parse_all(call.args.words("netspec"))
    except NetspecError as error:
        raise CommandError(str(error)) from error

    async def add(host: str, vms: Sequence[VmInfo]) -> Answer:
        counts = {guest.vm_id: len(guest.interfaces) for guest in await _interfaces(call, host)}
        for vm in vms:
            if counts.get(vm.vm_id, len(vm.config.networks)) + len(specs) > MAX_INTERFACES:
                raise CommandError(f"{vm.name}: a VM can have {MAX_INTERFACES} network interfaces")
        vlans = await look_up(call, [spec.vlan for spec in specs])
        networks = [resolved(spec, vlan) for spec, vlan in zip(specs, vlans, strict=True)]
        try:
            await _expect(call, host, vms)
        except BusError:
            await give_back(call, vlans)
            raise
        request = AddInterfaces(vms=tuple(further(vm, networks) for vm in vms))
        return await _plug_in(call, host, request, vlans)

    yield await on_targets(call, add)


async def _check_position(call: Call, host: str, vms: Sequence[VmInfo], position: int) -> None:
    """Raise CommandError if none of the VMs has such an interface; VMs that never had any get theirs."""
    counts = {guest.vm_id: len(guest.interfaces) for guest in await _interfaces(call, host)}
    most = max(counts.get(vm.vm_id, len(vm.config.networks)) for vm in vms)
    if position >= most:
        raise CommandError(f"no network {position}, VM only has {most} network{'' if most == 1 else 's'}")
    if fresh := [vm for vm in vms if vm.vm_id not in counts and vm.config.networks]:
        await _expect(call, host, fresh)
        request = AddInterfaces(vms=tuple(further(vm, ()) for vm in fresh))
        await call.engine.ask(f"network@{host}", request, timeout_s=CONNECT_S, namespace=call.session.namespace)


async def _expect(call: Call, host: str, vms: Sequence[VmInfo]) -> None:
    """Before there are any: interfaces are removed with the guests from here on, and forgotten with the VMs."""
    wire = WireVms(target=",".join(str(vm.vm_id) for vm in vms))
    await call.engine.ask(f"vm@{host}", wire, timeout_s=QUICK_S, namespace=call.session.namespace)


async def _interfaces(call: Call, host: str) -> Sequence[GuestInterfaces]:
    namespace = call.session.namespace
    reply = await call.engine.ask(f"network@{host}", GetInterfaces(), timeout_s=QUICK_S, namespace=namespace)
    return reply.guests


async def _plug_in(call: Call, host: str, request: ConnectInterfaces | AddInterfaces, vlans: Sequence[Vlan]) -> Answer:
    """Have it done; VLANs that only those were to be in who could not be plugged in are given back."""
    namespace = call.session.namespace
    try:
        reply = await call.engine.ask(f"network@{host}", request, timeout_s=CONNECT_S, namespace=namespace)
    except OutcomeUnknownError:
        raise
    except BusError:
        await give_back(call, vlans)
        raise
    if len(reply.errors) >= len(request.vms):
        await give_back(call, vlans)
    return interface_report(reply, call)


POSITION_HELP = "POSITION is the number of the interface, 0 for the first one."

COMMANDS = (
    Command(
        patterns=("vm net <connect,> <target> <position> <vlan> [bridge]",),
        help_short="plug an interface of VMs into a VLAN",
        help_long=f"""\
{TARGET_HELP}
{POSITION_HELP}

Moves the interface to another VLAN, whether or not the VM runs; what is known of
it, such as its qos, stays. Without a bridge it stays on its bridge, or goes to
mega_bridge if it was disconnected:

	vm net connect web[1-3] 0 LAN""",
        scope=Scope.TARGETED,
        run=_connect,
        completers={"target": "vm_target", "vlan": "vlan", "bridge": "bridge"},
    ),
    Command(
        patterns=("vm net <disconnect,> <target> <position>",),
        help_short="unplug an interface of VMs",
        help_long=f"""\
{TARGET_HELP}
{POSITION_HELP}

The VM keeps the interface, which is connected to nothing until `vm net connect`.""",
        scope=Scope.TARGETED,
        run=_disconnect,
        completers={"target": "vm_target"},
    ),
    Command(
        patterns=("vm net <add,> <target> [netspec]...",),
        help_short="give VMs more interfaces",
        help_long=f"""\
{TARGET_HELP}
For netspecs see `help vm config net`.

A container that lives sees them at once, as further interfaces vethN; they are
there again after a relaunch:

	vm net add web1 LAN br2,100""",
        scope=Scope.TARGETED,
        run=_add,
        completers={"target": "vm_target", "netspec": "netspec"},
    ),
)
