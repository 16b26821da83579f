"""The shell of the `vm` actor: instance directories, host figures, queries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from actors.vm import state, views
from actors.vm.effects import (
    Instance,
    InstancesPrepared,
    InstancesRemoved,
    LinkNetworks,
    Located,
    Outcome,
    PrepareInstances,
    RemoveInstances,
    WarnOfStrangers,
    WriteConfigs,
    WriteStates,
    WriteTaps,
)
from actors.vm.table import VmTable
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor, boot_s
from bus.errors import BusError, InvalidError
from bus.messages.guest import (
    ReportConsoles,
    ReportExits,
    SampleGuests,
)
from bus.messages.vm import (
    MAX_WINDOW_S,
    ClearVmTags,
    FlushVms,
    GetHostLoad,
    GetVmCounts,
    GetVmNames,
    GetVms,
    HostLoad,
    KillVms,
    LaunchVms,
    ReportInterfaces,
    StartVms,
    StopVms,
    TagVms,
    TopVms,
    VmCounts,
    VmList,
    VmNames,
    VmUsage,
    VmUsages,
    WireVms,
)
from shims.files import instance
from shims.network import guest_netns
from shims.usage import hoststat

SAMPLE_GRACE_S = 20.0
"""For a driver to answer after its window."""


class VmActor(StepActor[VmTable]):
    """Supervisor of every guest on this host."""

    kind = "vm"
    state_type = VmTable
    requests = (
        LaunchVms,
        StartVms,
        StopVms,
        KillVms,
        FlushVms,
        TagVms,
        ClearVmTags,
        WireVms,
        ReportInterfaces,
        ReportExits,
        ReportConsoles,
    )

    def initial_state(self) -> VmTable:
        """No VMs."""
        return VmTable(host=self.context.host, base=str(self.context.base))

    def step(self, state_: VmTable, inp: Input) -> list[Effect]:
        """See `actors.vm.state`."""
        return state.step(state_, inp)

    async def on_start(self) -> None:
        """Tell the core where it runs, before it reconciles."""
        base = self.context.base
        self.feed(Located(host=self.context.host, base=str(base), highest_id=instance.highest_id(base)))

    # --- effects

    async def carry_out(self, effect: Effect) -> None:
        """Work on instance directories."""
        match effect:
            case PrepareInstances(instances=instances):
                # Hundreds of new files take a while on a busy disk: other commands are served meanwhile.
                self.spawn(self._prepare(instances), name="prepare instances")
            case WriteStates(states=states):
                for vm_id, text in states.items():
                    self._write(instance.STATE, vm_id, text)
            case WriteTaps(taps=taps):
                for vm_id, names in taps.items():
                    self._write(instance.TAPS, vm_id, "".join(f"{name}\n" for name in names))
            case WriteConfigs(configs=configs):
                for vm_id, text in configs.items():
                    self._write(instance.CONFIG, vm_id, text)
            case LinkNetworks(pids=pids):
                self._link(pids)
            case RemoveInstances(vm_ids=vm_ids):
                # Likewise, the more so as a guest may have filled its directory.
                self.spawn(self._remove(vm_ids), name="remove instances")
            case WarnOfStrangers(driver=driver, vm_ids=vm_ids):
                self.log.warn("unknown_guests", driver=driver, vm_ids=" ".join(map(str, vm_ids)))
            case _:
                await super().carry_out(effect)

    def _directory(self, vm_id: int) -> Path:
        return self.context.base / str(vm_id)

    async def _prepare(self, instances: tuple[Instance, ...]) -> None:
        outcomes = await asyncio.to_thread(lambda: tuple(map(self._prepare_one, instances)))
        self.feed(InstancesPrepared(outcomes=outcomes))

    def _prepare_one(self, one: Instance) -> Outcome:
        try:
            instance.prepare(self._directory(one.vm_id), name=one.name, config=one.config, state=one.state)
        except OSError as error:
            return Outcome(
                one.vm_id, f"cannot make the instance directory {self._directory(one.vm_id)}: {error.strerror}"
            )
        return Outcome(one.vm_id)

    def _write(self, file: str, vm_id: int, text: str) -> None:
        try:
            instance.write(self._directory(vm_id), file, text)
        except OSError as error:
            self.log.error("instance_file_failed", vm_id=vm_id, file=file, error=str(error))

    def _link(self, pids: Mapping[int, int]) -> None:
        for vm_id, pid in pids.items():
            try:
                guest_netns.link(self.context.tag, vm_id, pid)
            except OSError as error:
                self.log.warn("netns_not_named", vm_id=vm_id, error=str(error))

    async def _remove(self, vm_ids: Iterable[int]) -> None:
        outcomes = await asyncio.to_thread(lambda: tuple(map(self._remove_one, vm_ids)))
        self.feed(InstancesRemoved(outcomes=outcomes))

    def _remove_one(self, vm_id: int) -> Outcome:
        try:
            instance.remove(self._directory(vm_id))
        except OSError as error:
            return Outcome(vm_id, f"cannot remove the instance directory {self._directory(vm_id)}: {error.strerror}")
        return Outcome(vm_id)

    # --- queries

    @query
    async def get_vms(self, msg: GetVms, request: RequestContext) -> VmList:
        """VMs of the namespace."""
        return views.vm_list(self.state, request.namespace, msg.target, boot_s())

    @query
    async def get_vm_names(self, msg: GetVmNames, request: RequestContext) -> VmNames:
        """Names that are taken."""
        return views.vm_names(self.state, request.namespace)

    @query
    async def get_host_load(self, msg: GetHostLoad, request: RequestContext) -> HostLoad:
        """How busy the host is."""
        return views.host_load(self.state, hoststat.read())

    @query
    async def get_vm_counts(self, msg: GetVmCounts, request: RequestContext) -> VmCounts:
        """Of all namespaces."""
        return views.vm_counts(self.state)

    @query
    async def top_vms(self, msg: TopVms, request: RequestContext) -> VmUsages:
        """Measure over a window; the drivers do, all at once."""
        if not 0 <= msg.window_s <= MAX_WINDOW_S:  # nobody would end a longer one before its time
            raise InvalidError(f"`window_s` is a number of seconds from 0 to {MAX_WINDOW_S}, not {msg.window_s:g}")
        drivers = views.live_by_driver(self.state, request.namespace)
        measured = await asyncio.gather(*(self._sample(to, names, msg.window_s) for to, names in drivers.items()))
        return VmUsages(usages=tuple(usage for usages in measured for usage in usages))

    async def _sample(self, driver: str, names: dict[int, str], window_s: float) -> tuple[VmUsage, ...]:
        request = SampleGuests(vm_ids=tuple(names), window_s=window_s)
        try:
            answer = await self.ask(driver, request, timeout_s=window_s + SAMPLE_GRACE_S)
        except BusError as error:
            # Guests that cannot be measured are left out.
            self.log.warn("sampling_failed", driver=driver, error=str(error))
            return ()
        return views.usages(names, answer.samples)
