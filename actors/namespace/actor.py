"""The shell of the `namespace` actor: queries."""

from __future__ import annotations

import os

from actors.namespace import destroy, plan, schedules, state, vlans
from actors.namespace.table import Located, Namespace, NamespaceTable, first_table
from actors.namespace.vlan_requests import WriteVlans
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.errors import InvalidError
from bus.messages.base import Ack, Message
from bus.messages.envelope import Envelope
from bus.messages.namespace import (
    ClearConfig,
    CloneConfig,
    DestroyNamespace,
    Draft,
    FlushQueue,
    GetDraft,
    GetNamespaces,
    GetQueue,
    GetSavedConfigs,
    LaunchQueue,
    NamespaceList,
    OpenNamespace,
    Queue,
    QueueVms,
    RestoreConfig,
    SaveConfig,
    SavedConfigs,
    SetConfig,
    SetLoadMetric,
    SetQueueing,
)
from bus.messages.schedule import (
    ChangePlan,
    GetPlan,
    GetSchedules,
    Plan,
    Schedules,
)
from bus.messages.vlan import (
    AddVlan,
    BlacklistVlan,
    ClearVlans,
    GetVlans,
    ResolveVlans,
    ReturnVlans,
    SetVlanRange,
    VlanTable,
)
from bus.settings import vlan_range
from shims.files import replaced_file


class NamespaceActor(StepActor[NamespaceTable]):
    """Owner of namespaces."""

    kind = "namespace"
    state_type = NamespaceTable
    requests = (
        OpenNamespace,
        DestroyNamespace,
        SetConfig,
        ClearConfig,
        SaveConfig,
        RestoreConfig,
        CloneConfig,
        QueueVms,
        LaunchQueue,
        FlushQueue,
        SetQueueing,
        SetLoadMetric,
        ChangePlan,
        ResolveVlans,
        ReturnVlans,
        AddVlan,
        SetVlanRange,
        BlacklistVlan,
        ClearVlans,
    )

    def initial_state(self) -> NamespaceTable:
        """The default namespace on the own host."""
        return first_table(self.context.host, str(self.context.files_dir))

    def step(self, state_: NamespaceTable, inp: Input) -> list[Effect]:
        """See `actors.namespace.state`."""
        return state.step(state_, inp)

    async def on_start(self) -> None:
        """Tell the core where it runs."""
        where = Located(host=self.context.host, files_dir=str(self.context.files_dir), vlans=vlan_range.wanted())
        self.feed(where)

    async def carry_out(self, effect: Effect) -> None:
        """The one effect of its own is a file."""
        if isinstance(effect, WriteVlans):
            self._write_vlans(effect.text)
        else:
            await super().carry_out(effect)

    def _write_vlans(self, text: str) -> None:
        path = self.context.paths.vlans
        try:
            replaced_file.replace(path, text)  # small, as the journal's records are
        except OSError as error:  # the next change, or the next start, brings it up to date
            self.log.warn("file_not_written", path=str(path), error=os.strerror(error.errno or 0))

    def take(self, envelope: Envelope, request: Message) -> None:
        """Commands open their namespace one by one: where it is open already, there is nothing to write down."""
        name = envelope.namespace
        is_open = name in self.state.namespaces and not destroy.refusal(self.state, name)
        if is_open and isinstance(request, OpenNamespace):
            self._reply(envelope, Ack())
        else:
            super().take(envelope, request)

    def _namespace(self, request: RequestContext) -> Namespace:
        sentence = state.name_error(request.namespace)
        if sentence:
            raise InvalidError(sentence)
        return self.state.get(request.namespace)

    @query
    async def get_draft(self, msg: GetDraft, request: RequestContext) -> Draft:
        """The current configuration."""
        return Draft(config=self._namespace(request).draft)

    @query
    async def get_saved_configs(self, msg: GetSavedConfigs, request: RequestContext) -> SavedConfigs:
        """Names of the saved copies."""
        return SavedConfigs(names=tuple(sorted(self._namespace(request).saved)))

    @query
    async def get_queue(self, msg: GetQueue, request: RequestContext) -> Queue:
        """What waits to be launched."""
        return Queue(batches=tuple(self._namespace(request).queue))

    @query
    async def get_schedules(self, msg: GetSchedules, request: RequestContext) -> Schedules:
        """Runs of the scheduler."""
        return schedules.history(self.state, request.namespace)

    @query
    async def get_plan(self, msg: GetPlan, request: RequestContext) -> Plan:
        """Where queued VMs would go; raises InvalidError without a dry run."""
        return plan.shown(self._namespace(request))

    @query
    async def get_vlans(self, msg: GetVlans, request: RequestContext) -> VlanTable:
        """All VLANs."""
        return vlans.table(self.state.vlans, request.namespace)

    @query
    async def get_namespaces(self, msg: GetNamespaces, request: RequestContext) -> NamespaceList:
        """All namespaces."""
        return state.namespace_list(self.state)
