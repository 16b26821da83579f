"""What one step brings about, gathered while it decides and put in order at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from actors.vm.effects import (
    Instance,
    LinkNetworks,
    PrepareInstances,
    RemoveInstances,
    WarnOfStrangers,
    WriteConfigs,
    WriteStates,
    WriteTaps,
)
from actors.vm.kinds import KINDS
from actors.vm.table import ERROR_TAG, Audit, Call, Job, Phase, VmRecord, VmTable
from bus.actor.step import Ask, Effect, Fail, Input, Publish, Reply
from bus.language import vm_config
from bus.language.netspec import vlan_labels
from bus.messages.base import Message, Request
from bus.messages.guest import (
    CreateGuests,
    ForgetGuests,
    GuestSpec,
    KillGuests,
    ListGuests,
    PauseGuests,
    StartGuests,
)
from bus.messages.network import ForgetGuestNics, GuestNic, PlugGuests, UnplugGuests
from bus.messages.vm import GuestKind, VmEvent, VmReport, VmResult, VmState
from bus.topics import vm_topic

CHUNK = 25
"""Guests in one request to a driver: enough to make messages cheap, few enough to see progress."""
TIMEOUTS_S = {
    Phase.CREATING: 300.0,
    Phase.PLUGGING: 120.0,
    Phase.DISCARDING: 20.0,
    Phase.STARTING: 120.0,
    Phase.PAUSING: 120.0,
    Phase.KILLING: 120.0,
    Phase.UNPLUGGING: 60.0,
    Phase.FORGETTING: 120.0,
    Phase.UNWIRING: 60.0,
}
"""For a chunk, which may wait behind hundreds of others on a busy host."""
NETWORK_PHASES = frozenset({Phase.PLUGGING, Phase.UNPLUGGING, Phase.UNWIRING})
"""Those of which `network` does the work, not a driver."""
AUDIT_TIMEOUT_S = 60.0

T = TypeVar("T")


class Turn:
    """One step in the making."""

    def __init__(self, table: VmTable, inp: Input) -> None:
        self.table = table
        self.inp = inp
        self._changed: dict[int, None] = {}
        self._links: dict[int, None] = {}
        self._taps: dict[int, None] = {}
        self._prepare: list[int] = []
        self._remove: list[int] = []
        self._events: list[Effect] = []
        self._calls: dict[tuple[GuestKind, Phase], list[int]] = {}
        self._audits: dict[GuestKind, None] = {}
        self._answers: list[Effect] = []
        self._strangers: list[Effect] = []

    # --- what a step may want

    def reply(self, msg_id: str, body: Message) -> None:
        """Answer a request."""
        self._answers.append(Reply(msg_id=msg_id, body=body))

    def fail(self, msg_id: str, code: str, message: str) -> None:
        """Refuse a request."""
        self._answers.append(Fail(msg_id=msg_id, code=code, message=message))

    def state_changed(self, vm: VmRecord) -> None:
        """Have the state file written."""
        self._changed[vm.vm_id] = None

    def link(self, vm: VmRecord) -> None:
        """Have the name of its network namespace follow its guest."""
        if KINDS[vm.kind].own_netns:
            self._links[vm.vm_id] = None

    def interfaces_changed(self, vm: VmRecord) -> None:
        """Have the files written that say which interfaces it has: the names of its devices, its configuration."""
        self._taps[vm.vm_id] = None

    def publish(self, vm: VmRecord, what: str, event: VmEvent, *, cause: str = "") -> None:
        """Tell the world, after the files are written; the cause is the command under way, if no other is named."""
        cause = cause or (vm.work.job if vm.work else "")
        topic = vm_topic(vm.namespace, vm.name, what)
        self._events.append(Publish(topic=topic, event=event, namespace=vm.namespace, cause=cause))

    def enter(self, vm: VmRecord, phase: Phase) -> None:
        """Begin a phase, with the effect or ask that belongs to it."""
        vm.revision += phase is not vm.phase
        vm.phase = phase
        match phase:
            case Phase.PREPARING:
                self._prepare.append(vm.vm_id)
            case Phase.REMOVING:
                self._remove.append(vm.vm_id)
            case Phase.IDLE:
                pass
            case _:
                self._calls.setdefault((vm.kind, phase), []).append(vm.vm_id)

    def resume(self, vm: VmRecord) -> None:
        """After a restart: do again what only this actor does itself; open asks are sent again by the base."""
        if vm.phase in (Phase.PREPARING, Phase.REMOVING):
            self.enter(vm, vm.phase)
        else:
            self.state_changed(vm)
            self.link(vm)
            if vm.taps:
                self.interfaces_changed(vm)

    def audit(self, kind: GuestKind) -> None:
        """Ask the driver of a kind what guests it really has."""
        self._audits[kind] = None

    def strangers(self, kind: GuestKind, vm_ids: Sequence[int]) -> None:
        """A driver has guests that are no VM's."""
        self._strangers.append(WarnOfStrangers(driver=KINDS[kind].driver, vm_ids=tuple(vm_ids)))

    def warn(self, vm: VmRecord, warnings: Sequence[str]) -> None:
        """Have the answer to the command under way say what a guest goes without."""
        if vm.work is not None:
            known = self.table.jobs[vm.work.job].warnings
            known += [warning for warning in warnings if warning not in known]

    def settle(self, job_id: str) -> None:
        """Answer a command if nothing of it is open any more."""
        job = self.table.jobs[job_id]
        if job.open == 0:
            del self.table.jobs[job_id]
            if job.launch:
                job.results = [self._as_it_is_now(result) for result in job.results]
            self.reply(job_id, _report(job))

    def _as_it_is_now(self, result: VmResult) -> VmResult:
        """The result of a launch, unless its guest was made and has been lost since."""
        vm = self.table.vms.get(result.vm_id)
        if result.error or vm is None or vm.state is not VmState.ERROR:
            return result
        return msgspec.structs.replace(result, error=f"{vm.name}: {vm.tags.get(ERROR_TAG, 'it has failed')}")

    # --- the result

    def effects(self) -> list[Effect]:
        """All of it: files first, then events, then asks, then answers."""
        return [
            *self._files(),
            *self._strangers,
            *self._events,
            *(ask for (kind, phase), vm_ids in self._calls.items() for ask in self._ask_about(kind, phase, vm_ids)),
            *(self._ask_list(kind) for kind in self._audits),
            *self._answers,
        ]

    def _files(self) -> Iterator[Effect]:
        vms = self.table.vms
        known = [vm_id for vm_id in self._changed if vm_id in vms]
        for some in _chunks(known):
            yield WriteStates(states={vm_id: vms[vm_id].state.value for vm_id in some})
        for some in _chunks(list(self._links)):
            yield LinkNetworks(pids={vm_id: vms[vm_id].pid if vm_id in vms else 0 for vm_id in some})
        for some in _chunks(list(self._taps)):
            yield WriteTaps(taps={vm_id: tuple(vms[vm_id].taps) for vm_id in some})
            yield WriteConfigs(configs={vm_id: _config_text(vms[vm_id]) for vm_id in some})
        for some in _chunks(self._prepare):
            yield PrepareInstances(instances=tuple(_instance(vms[vm_id]) for vm_id in some))
        for some in _chunks(self._remove):
            yield RemoveInstances(vm_ids=tuple(some))

    def _ask_about(self, kind: GuestKind, phase: Phase, vm_ids: list[int]) -> Iterator[Effect]:
        for some in _chunks(vm_ids):
            tag = self._new_tag(phase)
            self.table.calls[tag] = Call(phase=phase, vm_ids=list(some))
            first = self.table.vms[some[0]].work
            yield Ask(
                tag=tag,
                to="network" if phase in NETWORK_PHASES else KINDS[kind].driver,
                body=self._request(phase, tuple(some)),
                timeout_s=TIMEOUTS_S[phase],
                cause=first.job if first else "",
            )

    def _request(self, phase: Phase, vm_ids: tuple[int, ...]) -> Request[Any]:
        match phase:
            case Phase.CREATING:
                return CreateGuests(guests=tuple(self._spec(self.table.vms[vm_id]) for vm_id in vm_ids))
            case Phase.STARTING:
                return StartGuests(vm_ids=vm_ids)
            case Phase.PAUSING:
                return PauseGuests(vm_ids=vm_ids)
            case Phase.KILLING | Phase.DISCARDING:
                return KillGuests(vm_ids=vm_ids)
            case Phase.FORGETTING:
                return ForgetGuests(vm_ids=vm_ids)
            case Phase.PLUGGING:
                return PlugGuests(guests=tuple(_nic(self.table.vms[vm_id]) for vm_id in vm_ids))
            case Phase.UNPLUGGING:
                return UnplugGuests(vm_ids=vm_ids)
            case Phase.UNWIRING:
                return ForgetGuestNics(vm_ids=vm_ids)
            case _:
                raise ValueError(f"nobody else has a part in {phase}")

    def _spec(self, vm: VmRecord) -> GuestSpec:
        return GuestSpec(
            vm_id=vm.vm_id,
            name=vm.name,
            namespace=vm.namespace,
            uuid=vm.uuid,
            instance_dir=f"{self.table.base}/{vm.vm_id}",
            config=vm.config,
        )

    def _ask_list(self, kind: GuestKind) -> Effect:
        tag = self._new_tag("audit")
        idle = {vm_id: vm.revision for vm_id, vm in self.table.vms.items() if vm.kind == kind and _is_idle(vm)}
        self.table.audits[tag] = Audit(kind=kind, revisions=idle)
        return Ask(tag=tag, to=KINDS[kind].driver, body=ListGuests(), timeout_s=AUDIT_TIMEOUT_S)

    def _new_tag(self, what: str) -> str:
        number = self.table.next_call
        self.table.next_call += 1
        return f"{what}-{number}-{self.inp.seed:x}"


def _is_idle(vm: VmRecord) -> bool:
    return vm.phase is Phase.IDLE


def _instance(vm: VmRecord) -> Instance:
    return Instance(vm_id=vm.vm_id, name=vm.name, config=_config_text(vm), state=vm.state.value)


def _config_text(vm: VmRecord) -> str:
    config = vm.present_config
    aliases = {spec.alias: spec.vlan for spec in config.networks if spec.alias}
    return vm_config.layout(config, vm.kind, vlan_labels(aliases, vm.namespace))


def _nic(vm: VmRecord) -> GuestNic:
    return GuestNic(vm_id=vm.vm_id, name=vm.name, namespace=vm.namespace, pid=vm.pid, networks=vm.config.networks)


def _report(job: Job) -> VmReport:
    results = sorted(job.results, key=lambda result: result.vm_id)
    errors = [*job.errors, *(result.error for result in results if result.error)]
    return VmReport(results=tuple(results), errors=tuple(errors), warnings=tuple(job.warnings))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
