"""Shell of the network actor: has operations done in the kernel, watches the traffic, writes the files users read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

from actors.network import views
from actors.network.audit import Picture, picture
from actors.network.kernel import EndingError, Kernel
from actors.network.operations import Audit, AuditDue, Worked
from actors.network.rates import Rates
from actors.network.services import servers
from actors.network.services.lease_care import LeaseCare
from actors.network.services.server_care import ServerCare
from actors.network.state import step
from actors.network.table import EndLease, KeepLease, NetworkTable, RunOperation, Warn
from actors.network.worker import UNAVAILABLE, work
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.messages.dnsmasq import (
    ConfigureDnsmasq,
    Dnsmasqs,
    GetDnsmasqs,
    KillDnsmasqs,
    StartDnsmasq,
    UnconfigureDnsmasq,
)
from bus.messages.network import (
    AddInterfaces,
    Bridges,
    ClearMirrors,
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    GetBridges,
    GetHostTaps,
    GetInterfaces,
    GetMirrors,
    GetRates,
    HostTaps,
    InterfaceList,
    Mirrors,
    MirrorTap,
    PlugGuests,
    ShapeInterfaces,
    TrunkBridge,
    UnplugGuests,
)
from bus.messages.network import Rates as RatesReply
from bus.paths import Context
from shims.network import netns
from shims.network.base import Addresses, Fabric, FabricError

SAMPLE_S = 5.0
AUDIT_S = 30.0
IDLE_S = 5.0
"""How long a fabric that nobody needs is kept, in case somebody comes."""
FILES_S = 0.5
"""Changes within this time are written to files together."""


class NetworkActor(StepActor[NetworkTable]):
    """See the module."""

    kind = "network"
    state_type = NetworkTable
    requests = (
        PlugGuests,
        UnplugGuests,
        ForgetGuestNics,
        ConnectInterfaces,
        AddInterfaces,
        ShapeInterfaces,
        CreateTap,
        DeleteTaps,
        MirrorTap,
        ClearMirrors,
        TrunkBridge,
        EndNetworks,
        StartDnsmasq,
        KillDnsmasqs,
        ConfigureDnsmasq,
        UnconfigureDnsmasq,
    )

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self._kernel = Kernel(self.make_fabric, self.log)
        self._servers = ServerCare(
            context,
            self.log,
            table=lambda: self.state.dnsmasq,
            feed=self.feed,
            spawn=lambda work, name: self.spawn(work, name=name),
        )
        self._leases = LeaseCare(context, self.log, self.feed, lambda work, name: self.spawn(work, name=name))
        self._in_use = asyncio.Event()
        """Set while there is a fabric, so that an idle actor never wakes up."""
        self._rates = Rates()
        self._addresses: Mapping[str, Addresses] = {}
        self._warned: dict[str, str] = {}
        self._files_due: asyncio.TimerHandle | None = None
        self._written: dict[str, str] = {}

    def make_fabric(self) -> Fabric:
        """The kernel's; loaded when it is needed, because it takes time and memory."""
        from shims.network.fabric import KernelFabric

        return KernelFabric(self.context.tag)

    def initial_state(self) -> NetworkTable:
        """Nothing."""
        return NetworkTable()

    def step(self, state: NetworkTable, inp: Input) -> list[Effect]:
        """See actors/network/state.py."""
        return step(state, inp)

    async def on_start(self) -> None:
        """Watch the fabric while there is one."""
        self.spawn(self._watch(self._sample, SAMPLE_S), name="sample")
        self.spawn(self._watch(self._audit, AUDIT_S), name="audit")
        self.spawn(self._watch(self._clear, IDLE_S), name="clear")

    async def on_stop(self) -> None:
        """What is plugged in stays, as guests do; a fabric without anything goes."""
        if self._files_due is not None:
            self._files_due.cancel()
            self._write_files()
        is_crash = self.lane.lost or self.exit_status
        try:
            await self._kernel.end(destroy=self.state.is_empty and not is_crash)
        except FabricError as error:
            self.log.error("fabric_stays", error=str(error))

    def counters(self) -> dict[str, int]:
        """How much there is."""
        interfaces = sum(len(guest.nics) for guest in self.state.guests.values())
        return {"interfaces": interfaces, "host_taps": len(self.state.taps)}

    # --- effects

    async def carry_out(self, effect: Effect) -> None:
        """The kernel is asked beside the loop."""
        match effect:
            case RunOperation():
                self.spawn(self._run(effect), name=f"{type(effect.operation).__name__} {effect.number}")
            case Warn():
                self._warn(effect)
            case KeepLease(tap=tap, is_new=is_new):
                self._leases.keep(tap, is_new=is_new)
            case EndLease(tap=tap):
                self._leases.end(tap)
            case _ if self._servers.carry_out(effect):
                pass
            case _:
                await super().carry_out(effect)

    async def _run(self, effect: RunOperation) -> None:
        number, operation = effect.number, effect.operation
        wanted = picture(self.state) if isinstance(operation, Audit) else Picture()
        if isinstance(operation, Audit) and wanted.is_empty and not self._has_fabric():
            self.feed(Worked(number=number))
            return
        try:
            outcome = await self._kernel.run(lambda fabric: work(fabric, number, operation, wanted))
        except EndingError:
            return
        except FabricError as error:
            outcome = Worked(number=number, failed=str(error), code=UNAVAILABLE)
        except Exception as error:  # whoever waits for it must not wait for ever
            self.log.exception("operation_failed", error, operation=type(operation).__name__, number=number)
            sentence = f"internal error in network; its log has it under operation {number}"
            outcome = Worked(number=number, failed=sentence, code="internal")
        if self._kernel.is_open:
            self._in_use.set()
        self.feed(outcome)
        self._files_changed()

    def _has_fabric(self) -> bool:
        """Whether there is one: an earlier actor may have left it."""
        return self._kernel.is_open or netns.exists(self.context.tag)

    def _warn(self, effect: Warn) -> None:
        """What cannot be mended is said once, not at each audit."""
        if self._warned.get(effect.tap) != effect.what or effect.event != "repair_failed":
            self.log.warn(effect.event, tap=effect.tap, what=effect.what)
        self._warned[effect.tap] = effect.what

    # --- as time goes by

    async def _watch(self, look: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await self._in_use.wait()
            await asyncio.sleep(every_s)
            try:
                if self._in_use.is_set():
                    await look()
            except EndingError:
                return
            except Exception as error:  # it may work the next time
                self.log.exception("watching_failed", error, what=look.__name__)

    async def _sample(self) -> None:
        """Read the counters and the addresses of all ports."""
        seen = await self._kernel.look(lambda fabric: (fabric.counters(), fabric.addresses()))
        if seen is not None:
            self._rates.add(time.monotonic(), seen[0])
            self._addresses = seen[1]

    async def _audit(self) -> None:
        if not self.state.is_empty:
            self.feed(AuditDue())

    async def _clear(self) -> None:
        """Remove a fabric that nobody needs."""
        if self.state.is_empty:
            await self._destroy()

    async def _destroy(self) -> None:
        self._in_use.clear()
        try:
            await self._kernel.destroy()
        except FabricError as error:
            self.log.error("fabric_stays", error=str(error))

    # --- files

    def _files_changed(self) -> None:
        if self._files_due is None:
            self._files_due = asyncio.get_running_loop().call_later(FILES_S, self._write_files)

    def _write_files(self) -> None:
        self._files_due = None
        for name, text in (("bridges", views.bridges_file(self.state)), ("taps", views.taps_file(self.state))):
            if self._written.get(name) == text:
                continue
            path = self.context.base / name
            temporary = path.with_name(f".{name}.new")
            try:
                temporary.write_text(text)
                temporary.replace(path)
                self._written[name] = text
            except OSError as error:
                self.log.warn("file_not_written", path=str(path), error=os.strerror(error.errno or 0))
                with contextlib.suppress(OSError):
                    temporary.unlink()

    # --- questions

    @query
    async def get_interfaces(self, msg: GetInterfaces, request: RequestContext) -> InterfaceList:
        """Of the VMs of a namespace."""
        return views.interfaces(self.state, request.namespace, self._rates.now, self._addresses)

    @query
    async def get_rates(self, msg: GetRates, request: RequestContext) -> RatesReply:
        """Of all ports."""
        return views.all_rates(self.state, self._rates.now)

    @query
    async def get_host_taps(self, msg: GetHostTaps, request: RequestContext) -> HostTaps:
        """Of a namespace."""
        return views.host_taps(self.state, request.namespace)

    @query
    async def get_mirrors(self, msg: GetMirrors, request: RequestContext) -> Mirrors:
        """Of a namespace."""
        return views.mirrors(self.state, request.namespace)

    @query
    async def get_bridges(self, msg: GetBridges, request: RequestContext) -> Bridges:
        """Of all namespaces."""
        return views.bridges(self.state)

    @query
    async def get_dnsmasqs(self, msg: GetDnsmasqs, request: RequestContext) -> Dnsmasqs:
        """Of all namespaces."""
        return servers.listed(self.state.dnsmasq)
