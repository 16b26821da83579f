"""Which VMs have a backchannel, and how they come and go. Pure."""

from __future__ import annotations

from actors.cc.decisions import reports
from actors.cc.inputs import CloseMounts, CloseTunnels, HangUp, Offer, Reline, VmsGone, VmsSeen
from actors.cc.table import CcTable, Guest, Ledger, Vm
from bus.actor.step import Effect, Input

ENDED = "the VM has ended"


def ledger_of(table: CcTable, namespace: str, inp: Input) -> Ledger:
    """The ledger of a namespace; it begins with its first mention."""
    found = table.namespaces.get(namespace)
    if found is None:
        found = table.namespaces[namespace] = Ledger(name=inp.new_uuid(len(table.namespaces)))
    return found


def seen(table: CcTable, inp: VmsSeen) -> list[Effect]:
    """VMs as they are now."""
    effects: list[Effect] = []
    for vm in inp.vms:
        effects += _seen(table, vm, inp)
    return effects


def gone(table: CcTable, inp: VmsGone) -> list[Effect]:
    """VMs were flushed."""
    effects: list[Effect] = []
    for vm_id in inp.vm_ids:
        key = table.vms.get(vm_id)
        guest = table.guest(key) if key else None
        if key is not None and guest is not None:
            effects += _flushed(table, table.namespaces[key[0]], guest, inp)
    return effects


def _seen(table: CcTable, vm: Vm, inp: Input) -> list[Effect]:
    if not vm.backchannel:
        return []
    ledger = ledger_of(table, vm.namespace, inp)
    guest = ledger.guests.get(vm.uuid)
    if guest is not None and guest.vm.vm_id != vm.vm_id and guest.vm.live and not guest.flushed:
        return []  # launches with a UUID that is taken are refused, so this one is about to vanish
    if guest is None or guest.vm.vm_id != vm.vm_id:
        if guest is not None:
            table.vms.pop(guest.vm.vm_id, None)
        ledger.guests[vm.uuid] = Guest(vm=vm)
        table.vms[vm.vm_id] = vm.key
        return [Reline(vm_ids=(vm.vm_id,))]
    before, guest.vm = guest.vm, vm
    effects: list[Effect] = []
    if before.live and not vm.live:
        effects += ended(ledger, guest, inp)
    if before.live != vm.live:
        effects.append(Reline(vm_ids=(vm.vm_id,)))
    if guest.connected and (before.tags, before.columns, before.interfaces) != (vm.tags, vm.columns, vm.interfaces):
        effects.append(Offer(namespace=vm.namespace, uuid=vm.uuid))
    return effects


def ended(ledger: Ledger, guest: Guest, inp: Input) -> list[Effect]:
    """Nothing runs in a guest any more."""
    effects = reports.interrupt(ledger, guest, ENDED, inp.time_s)
    namespace, uuid = guest.vm.key
    effects.append(HangUp(namespace=namespace, uuid=uuid, reason=ENDED))
    return [*effects, *reports.left(guest, ENDED)]


def _flushed(table: CcTable, ledger: Ledger, guest: Guest, inp: Input) -> list[Effect]:
    effects = ended(ledger, guest, inp)
    guest.flushed = True
    table.vms.pop(guest.vm.vm_id, None)
    tunnels = ledger.tunnels.pop(guest.vm.uuid, {})
    if tunnels:
        effects.append(CloseTunnels(tunnels=tuple((guest.vm.key, number) for number in tunnels)))
    mount = ledger.mounts.pop(guest.vm.uuid, None)
    if mount is not None and mount.source:
        effects.append(CloseMounts(mounts=((guest.vm.key, mount.source),)))
    effects.append(Reline(vm_ids=(guest.vm.vm_id,)))
    ledger.forget_stranger(guest.vm.uuid)
    return effects
