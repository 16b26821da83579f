"""Launch: which VMs may be made, and their records."""

from __future__ import annotations

import msgspec

from actors.vm import lifecycle
from actors.vm.effects import Outcome
from actors.vm.kinds import KINDS
from actors.vm.table import Job, Phase, Verb, VmRecord, VmTable, Work
from actors.vm.turn import Turn
from bus.actor.step import Received
from bus.language.vm_names import MAX_VMS, VmNameError, check_vm_name
from bus.messages.vm import GuestKind, LaunchVms, VmConfig, VmResult, VmState


class Claims:
    """Names, UUIDs and shared paths that VMs of this host hold; the paths count across namespaces."""

    def __init__(self, table: VmTable, namespace: str) -> None:
        self._names: set[str] = set()
        self._uuids: set[str] = set()
        self._paths: dict[str, tuple[int, bool]] = {}
        """To the id of a VM, one that writes to the path itself if there is such, and whether it does not."""
        for vm in table.vms.values():
            self._claim_paths(vm.vm_id, vm.kind, vm.config)
            if vm.namespace == namespace:
                self._names.add(vm.name)
                self._uuids.add(vm.uuid)

    def claim(self, vm_id: int, name: str, kind: GuestKind, config: VmConfig) -> None:
        """A VM takes what it needs."""
        self._names.add(name)
        self._uuids.add(config.uuid)
        self._claim_paths(vm_id, kind, config)

    def _claim_paths(self, vm_id: int, kind: GuestKind, config: VmConfig) -> None:
        for path in KINDS[kind].shared(config):
            if not config.snapshot or path not in self._paths:
                self._paths[path] = (vm_id, config.snapshot)

    def conflict(self, name: str, kind: GuestKind, config: VmConfig) -> str:
        """Which claim a new VM would violate, as a sentence; empty if none."""
        if name in self._names:
            return f"duplicate VM name: {name}"
        if config.uuid in self._uuids:
            return f"duplicate VM UUID: {config.uuid}"
        for path in KINDS[kind].shared(config):
            holder, snapshot = self._paths.get(path, (-1, True))
            if holder >= 0 and not (snapshot and config.snapshot):
                return f"{KINDS[kind].shared_word} conflict with vm {holder}: {path}"
        return ""


def launch(turn: Turn, inp: Received, msg: LaunchVms) -> None:
    """Make a record for every VM that may be made; the others are errors of the command and burn an id."""
    if not 0 < len(msg.names) <= MAX_VMS:
        turn.fail(inp.msg_id, "invalid", f"cannot launch {len(msg.names)} VMs at once: 1 to {MAX_VMS} are allowed")
        return
    table = turn.table
    claims = Claims(table, inp.namespace)
    job = table.jobs[inp.msg_id] = Job(namespace=inp.namespace, launch=True)
    for index, name in enumerate(msg.names):
        vm_id, table.next_id = table.next_id, table.next_id + 1
        config = msgspec.structs.replace(msg.config, uuid=msg.config.uuid or inp.new_uuid(index))
        error = _refusal(name, msg.kind, config) or claims.conflict(name, msg.kind, config)
        if error:
            job.results.append(VmResult(name=name, error=f"{name}: {error}", host=table.host))
            continue
        claims.claim(vm_id, name, msg.kind, config)
        job.open += 1
        table.vms[vm_id] = _record(vm_id, name, inp, msg.kind, config)
        turn.enter(table.vms[vm_id], Phase.PREPARING)
    turn.settle(inp.msg_id)


def _refusal(name: str, kind: GuestKind, config: VmConfig) -> str:
    try:
        check_vm_name(name)
    except VmNameError as error:
        return str(error)
    return KINDS[kind].refusal(config)


def _record(vm_id: int, name: str, inp: Received, kind: GuestKind, config: VmConfig) -> VmRecord:
    return VmRecord(
        vm_id=vm_id,
        name=name,
        namespace=inp.namespace,
        uuid=config.uuid,
        kind=kind,
        config=config,
        state=VmState.BUILDING,
        tags=dict(config.tags),
        created_s=inp.time_s,
        launched_s=inp.boot_s,
        work=Work(job=inp.msg_id, verb=Verb.LAUNCH, seen=VmState.BUILDING),
    )


def prepared(turn: Turn, vm: VmRecord, outcome: Outcome) -> None:
    """The instance directory exists, or not: on to the driver, or ERROR."""
    if outcome.error:
        lifecycle.give_up(turn, vm, outcome.error)
        lifecycle.take_up(turn, vm)
    else:
        turn.enter(vm, Phase.CREATING)
