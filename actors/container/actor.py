"""Shell of the container actor: speaks with the warden, holds the consoles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Literal

from actors.container.console_requests import ConsoleRequests
from actors.container.console_table import Consoles, Home
from actors.container.state import (
    CallWarden,
    ConsolesMoved,
    ContainerTable,
    DropConsole,
    GuestState,
    Verb,
    WardenAnswered,
    WardenConnected,
    WardenExited,
)
from actors.container.step import step
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.actor.turns import key_of
from bus.messages.base import Ack
from bus.messages.console import ConsoleInput, ConsoleOutput, ReadConsole, ResizeConsole, TypeAtConsole
from bus.messages.guest import (
    CreateGuests,
    ForgetGuests,
    GuestExit,
    GuestList,
    GuestSamples,
    GuestStatus,
    KillGuests,
    ListGuests,
    PauseGuests,
    SampleGuests,
    StartGuests,
)
from bus.paths import Context, console_address
from shims.container.client import WardenClient, WardenGoneError, WardenRefusedError
from shims.container.protocol import ContainerStatus, Exited
from shims.usage.containers import measure

RECONNECT_S = 0.05
TEND_S = 2.0
"""Between looks for consoles that are not served as they should be."""
SHOWN: dict[GuestState, Literal["building", "running", "paused", "exited"]] = {
    GuestState.CREATING: "building",
    GuestState.BUILDING: "building",
    GuestState.RUNNING: "running",
    GuestState.PAUSED: "paused",
    GuestState.EXITED: "exited",
}


class ContainerActor(StepActor[ContainerTable]):
    """See the module."""

    kind = "container"
    state_type = ContainerTable
    requests = (CreateGuests, StartGuests, PauseGuests, KillGuests, ForgetGuests)

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self._lost = asyncio.Event()
        self._logged_lacks: set[str] = set()
        self._is_reconciled = False
        """Whether the warden at the other end of the connection is known; until then nothing is asked of it."""
        self._in_flight: set[str] = set()
        """Calls made on this connection and not answered."""
        self._consoles = Consoles(
            store=self.lane.store_fd, drop=self.lane.drop_fd, address=console_address(), log=self.log
        )
        self._console_requests = ConsoleRequests(self._consoles, lambda: self.state.guests)
        self._warden = WardenClient(context.paths.run / "warden", on_exited=self._on_exited, on_gone=self._lost.set)

    def initial_state(self) -> ContainerTable:
        """No containers."""
        return ContainerTable(tag=self.context.tag)

    def step(self, state: ContainerTable, inp: Input) -> list[Effect]:
        """See actors/container/step.py."""
        return step(state, inp)

    async def on_start(self) -> None:
        """Take back the consoles, then follow the warden for as long as this actor lives."""
        self._consoles.restore(await self.lane.fetch_fds(), self._homes())
        self._tell_ports()
        self.spawn(self._follow_warden(), name="warden")
        self.spawn(self._tend_consoles(), name="consoles")

    async def stop(self) -> None:
        """Let those go who wait for output: the base waits for requests that are under way."""
        self._console_requests.end()
        await super().stop()

    def inbox(self) -> int:
        """Without the viewers that wait for output, which is no work."""
        return super().inbox() - self._console_requests.waiting

    async def on_stop(self) -> None:
        """The containers stay with the warden, the terminals with the node."""
        self._warden.close()
        self._consoles.close()

    async def _follow_warden(self) -> None:
        while True:
            self._lost.clear()
            with contextlib.suppress(WardenGoneError):
                await self._warden.connect()
                containers = await self._warden.list()
                await self._open_consoles(containers)
                self._is_reconciled = True
                self.feed(WardenConnected(containers=containers))
                await self._return_consoles(containers)
                await self._lost.wait()
                self.log.warn("warden_lost")
            self._is_reconciled = False
            self._in_flight.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _open_consoles(self, containers: tuple[ContainerStatus, ...]) -> None:
        """Consoles of living containers that the node did not hand back: started by hand, or it was restarted too."""
        living = {container.guest_id for container in containers if container.state != "exited"}
        for vm_id in self._consoles.vm_ids():
            if vm_id not in living:
                self._consoles.end(vm_id)
        self._console_requests.lost.clear()
        await self._open_missing(living)
        self._tell_ports()

    async def _return_consoles(self, containers: tuple[ContainerStatus, ...]) -> None:
        """Give a new warden the terminals that the earlier one had: they must not depend on this actor and the node."""
        for container in containers:
            master = self._consoles.master(container.guest_id)
            if not container.has_console and master >= 0:
                with contextlib.suppress(WardenRefusedError):
                    await self._warden.keep_console(container.guest_id, master)

    async def _open_missing(self, living: set[int]) -> None:
        for vm_id, home in self._homes().items():
            if vm_id not in living or vm_id in self._consoles or vm_id in self._console_requests.lost:
                continue
            try:
                master = await self._warden.open_console(vm_id)
            except WardenRefusedError as refused:
                self._console_requests.lost.add(vm_id)
                self.log.warn("console_lost", vm_id=vm_id, reason=str(refused))
                continue
            if master >= 0 and vm_id not in self._consoles and vm_id in self._homes():
                self._consoles.go_on(vm_id, home, master)
            elif master >= 0:
                os.close(master)

    async def _tend_consoles(self) -> None:
        """Serve what could not be served at once, for want of descriptors."""
        while True:
            await asyncio.sleep(TEND_S)
            self._consoles.open_missing()
            if self._is_reconciled:
                built = {vm_id for vm_id, guest in self.state.guests.items() if guest.state is not GuestState.CREATING}
                with contextlib.suppress(WardenGoneError):
                    await self._open_missing(built)
            self._tell_ports()

    def _homes(self) -> dict[int, Home]:
        """Of all containers that live, as far as is known."""
        return {
            vm_id: Home(guest.spec.instance_dir, guest.console_port)
            for vm_id, guest in self.state.guests.items()
            if guest.state is not GuestState.EXITED
        }

    def _tell_ports(self) -> None:
        """Consoles that are at other ports than before; not those that are still to be fetched from the warden."""
        known = {*self._consoles.vm_ids(), *self._console_requests.lost}
        moved = {
            vm_id: self._consoles.port(vm_id)
            for vm_id, home in self._homes().items()
            if vm_id in known and home.port != self._consoles.port(vm_id)
        }
        if moved:
            self.feed(ConsolesMoved(ports=moved))

    def _on_exited(self, notice: Exited) -> None:
        self._consoles.end(notice.guest_id)
        exit_ = GuestExit(
            vm_id=notice.guest_id,
            exit=notice.exit,
            clean=notice.clean,
            oom_killed=notice.oom_killed,
            message=notice.message,
        )
        self.feed(WardenExited(exit=exit_))

    async def carry_out(self, effect: Effect) -> None:
        """Calls go out in order and are awaited beside each other."""
        match effect:
            case CallWarden():
                self.spawn(self._call(effect), name=effect.call)
            case DropConsole(vm_id=vm_id):
                self._consoles.end(vm_id)
            case _:
                await super().carry_out(effect)

    async def _call(self, call: CallWarden) -> None:
        """Make a call, unless reconciling makes it: that judges by a list from before, on which it cannot show."""
        if not self._is_reconciled or call.call in self._in_flight:
            return
        self._in_flight.add(call.call)
        try:
            answer = await self._make(call)
        except WardenRefusedError as refused:
            answer = WardenAnswered(call=call.call, error=str(refused))
        except WardenGoneError:
            return  # on reconnection, the warden's list decides
        except Exception as error:  # whoever waits for the call must not wait for ever
            self.log.exception("call_failed", error, call=call.call)
            answer = WardenAnswered(
                call=call.call, error=f"internal error in container; its log has it under {call.call}"
            )
        self._in_flight.discard(call.call)
        self.feed(answer)

    def _log_lacks(self, warnings: tuple[str, ...]) -> None:
        """Each once; a thousand guests lack the same."""
        for warning in warnings:
            if warning not in self._logged_lacks:
                self._logged_lacks.add(warning)
                self.log.warn("guests_lack", what=warning)

    async def _make(self, call: CallWarden) -> WardenAnswered:
        match call.verb:
            case Verb.CREATE:
                assert call.spec is not None  # noqa: S101 - for the type checker: every CREATE carries one
                created, master = await self._warden.create(call.spec)
                self._console_requests.lost.discard(call.vm_id)
                missing = self._consoles.begin(call.vm_id, Home(call.spec.instance_dir), master)
                warning = (f"its console is not served yet: {missing}",) if missing else ()
                self._log_lacks(created.warnings)
                return WardenAnswered(
                    call=call.call,
                    pid=created.pid,
                    warnings=(*created.warnings, *warning),
                    console_port=self._consoles.port(call.vm_id),
                )
            case Verb.START:
                await self._warden.start(call.vm_id)
            case Verb.FREEZE:
                await self._warden.freeze(call.vm_id)
            case Verb.KILL:
                await self._warden.kill(call.vm_id)
            case Verb.FORGET:
                await self._warden.forget(call.vm_id)
        return WardenAnswered(call=call.call)

    @query
    async def list_guests(self, msg: ListGuests, request: RequestContext) -> GuestList:
        """Every container that is not forgotten."""
        guests = tuple(
            GuestStatus(vm_id=vm_id, pid=guest.pid, state=SHOWN[guest.state], exit=guest.exit)
            for vm_id, guest in self.state.guests.items()
        )
        return GuestList(guests=guests)

    @query
    async def sample_guests(self, msg: SampleGuests, request: RequestContext) -> GuestSamples:
        """Resource use over a window."""
        known = [vm_id for vm_id in msg.vm_ids if vm_id in self.state.guests]
        return GuestSamples(samples=await measure(self.context.tag, known, msg.window_s))

    @query
    async def read_console(self, msg: ReadConsole, request: RequestContext) -> ConsoleOutput:
        """What a console says."""
        self._console_requests.check(msg.vm_id, request)
        return await self._console_requests.read(msg, key_of(request.msg_id))

    @query
    async def type_at_console(self, msg: TypeAtConsole, request: RequestContext) -> ConsoleInput:
        """Input of a viewer; idempotent by its position."""
        self._console_requests.check(msg.vm_id, request)
        return await self._console_requests.type(msg)

    @query
    async def resize_console(self, msg: ResizeConsole, request: RequestContext) -> Ack:
        """The window of a viewer."""
        self._console_requests.check(msg.vm_id, request)
        return await self._console_requests.resize(msg)
