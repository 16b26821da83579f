"""Tags of VMs: changed at once, whatever else is being done to the VM."""

from __future__ import annotations

from actors.vm import transitions
from actors.vm.table import VmRecord, not_found, remove_tags
from actors.vm.turn import Turn
from bus.actor.step import Received
from bus.language.vm_names import VmNameError, parse_target
from bus.messages.base import WILDCARD
from bus.messages.vm import ClearVmTags, TagVms, VmReport, VmResult

MAX_TAGS = 65_536
"""Characters of all keys and values of one VM."""


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
    results: list[VmResult] = []
    for vm in found:
        refusal = _refusal(vm, msg)
        if not refusal and _change(vm, msg):
            transitions.tagged(turn, vm, cause=inp.msg_id)
        results.append(VmResult(name=vm.name, vm_id=vm.vm_id, host=turn.table.host, error=refusal))
    errors = (*(result.error for result in results if result.error), *(not_found(item) for item in missing))
    turn.reply(inp.msg_id, VmReport(results=tuple(results), errors=errors))


def _refusal(vm: VmRecord, msg: TagVms | ClearVmTags) -> str:
    """Why the tag cannot be set; empty if it can. Every list of VMs has all their tags in it."""
    if isinstance(msg, ClearVmTags):
        return ""
    others = sum(len(key) + len(value) for key, value in vm.tags.items() if key != msg.key)
    size = others + len(msg.key) + len(msg.value)
    return (
        "" if size <= MAX_TAGS else f"{vm.name}: its tags would have {size} characters, at most {MAX_TAGS} are allowed"
    )


def _change(vm: VmRecord, msg: TagVms | ClearVmTags) -> bool:
    if isinstance(msg, ClearVmTags):
        return remove_tags(vm, msg.key)
    changed = vm.tags.get(msg.key) != msg.value
    vm.tags[msg.key] = msg.value
    return changed
