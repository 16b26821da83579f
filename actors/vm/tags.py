"""Tags of VMs: changed at once, whatever else is being done to the VM."""

from __future__ import annotations

from actors.vm import transitions
from actors.vm.table import VmRecord, not_found, remove_tags
from actors.vm.turn import Turn
from bus.messages.base import WILDCARD
from bus.messages.vm import ClearVmTags, TagVms, VmReport, VmResult
from bus.step import Received
from bus.vm_names import VmNameError, parse_target


def change_tags(turn: Turn, inp: Received, msg: TagVms | ClearVmTags) -> None:
    """Set or remove tags of the VMs of a target."""
    if isinstance(msg, TagVms) and msg.key == WILDCARD:
        turn.fail(inp.msg_id, "invalid", "cannot assign to wildcard")
        return
    try:
        found, missing = turn.table.matching(inp.namespace, parse_target(msg.target))
    except VmNameError as error:
        turn.fail(inp.msg_id, "invalid", str(error))
        return
    for vm in found:
        if _change(vm, msg):
            transitions.tagged(turn, vm, cause=inp.msg_id)
    results = tuple(VmResult(name=vm.name, vm_id=vm.vm_id, host=turn.table.host) for vm in found)
    turn.reply(inp.msg_id, VmReport(results=results, errors=tuple(not_found(item) for item in missing)))


def _change(vm: VmRecord, msg: TagVms | ClearVmTags) -> bool:
    if isinstance(msg, ClearVmTags):
        return remove_tags(vm, msg.key)
    changed = vm.tags.get(msg.key) != msg.value
    vm.tags[msg.key] = msg.value
    return changed
