"""Interfaces of guests: `network` makes, removes and forgets them, this actor says when."""

from __future__ import annotations

from actors.vm.table import Phase, VmRecord, Wires
from actors.vm.turn import Turn
from bus.actor.step import Received
from bus.language.vm_names import VmNameError, parse_target
from bus.messages.base import Ack
from bus.messages.guest import GuestReport
from bus.messages.network import PlugReport
from bus.messages.vm import ReportInterfaces, VmInterfaces, WireVms


def plug(turn: Turn, vm: VmRecord) -> None:
    """The guest exists: have its interfaces made."""
    vm.wires = Wires.PLUGGED
    turn.enter(vm, Phase.PLUGGING)


def release(turn: Turn, vm: VmRecord) -> bool:
    """Have the devices of a VM whose guest has ended removed; says whether there is anything to remove."""
    if vm.live or vm.wires is not Wires.PLUGGED:
        return False
    turn.enter(vm, Phase.UNPLUGGING)
    return True


def answered(turn: Turn, vm_ids: list[int], body: PlugReport | Ack) -> tuple[GuestReport, ...]:
    """What `network` did for these VMs, in the form in which drivers say it."""
    if isinstance(body, Ack):
        return tuple(GuestReport(vm_id=vm_id) for vm_id in vm_ids)
    for plugged in body.guests:
        vm = turn.table.vms.get(plugged.vm_id)
        if vm is not None and vm.phase is Phase.PLUGGING and not plugged.error:
            taps, networks, revision = plugged.taps, plugged.networks, plugged.revision
            _note(turn, vm, VmInterfaces(vm_id=vm.vm_id, taps=taps, networks=networks, revision=revision))
    return tuple(
        GuestReport(vm_id=plugged.vm_id, error=plugged.error, warnings=plugged.warnings) for plugged in body.guests
    )


def _note(turn: Turn, vm: VmRecord, found: VmInterfaces) -> None:
    if found.revision < vm.revision_of_networks:
        return
    vm.revision_of_networks = found.revision
    vm.taps, vm.networks = list(found.taps), found.networks
    if vm.phase is not Phase.PREPARING:  # its directory is being made, and they are written once it is plugged in
        turn.interfaces_changed(vm)


def changed(turn: Turn, inp: Received, msg: ReportInterfaces) -> None:
    """`network` has added interfaces of VMs, or plugged some in elsewhere."""
    for found in msg.vms:
        vm = turn.table.vms.get(found.vm_id)
        if vm is not None and vm.phase is not Phase.REMOVING:
            _note(turn, vm, found)
    turn.reply(inp.msg_id, Ack())


def expect(turn: Turn, inp: Received, msg: WireVms) -> None:
    """VMs of the target will have interfaces, though perhaps they were launched without any."""
    try:
        found, _ = turn.table.matching(inp.namespace, parse_target(msg.target))
    except VmNameError as error:
        turn.fail(inp.msg_id, "invalid", str(error))
        return
    for vm in found:
        if vm.wires is Wires.NONE:
            vm.wires = Wires.PLUGGED if vm.live else Wires.KEPT
    turn.reply(inp.msg_id, Ack())
