"""Shell of the container actor: speaks with the warden, holds the consoles."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Literal

from actors.container.console import Consoles
from actors.container.state import (
    CallWarden,
    ContainerTable,
    DropConsole,
    GuestState,
    Verb,
    WardenAnswered,
    WardenConnected,
    WardenExited,
)
from actors.container.step import step
from bus.actor import RequestContext, query
from bus.messages.guest import GuestExit, GuestList, GuestSamples, GuestStatus, ListGuests, SampleGuests
from bus.paths import Context
from bus.step import Effect, Input
from bus.step_actor import StepActor
from shims.container.client import WardenClient, WardenGoneError, WardenRefusedError
from shims.container.protocol import ContainerStatus, Exited
from shims.usage import measure

RECONNECT_S = 0.05
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

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self._lost = asyncio.Event()
        self._consoles = Consoles(store=self.lane.store_fd, drop=self.lane.drop_fd)
        self._warden = WardenClient(context.paths.run / "warden", on_exited=self._on_exited, on_gone=self._lost.set)

    def initial_state(self) -> ContainerTable:
        """No containers."""
        return ContainerTable(tag=self.context.tag)

    def step(self, state: ContainerTable, inp: Input) -> list[Effect]:
        """See actors/container/step.py."""
        return step(state, inp)

    async def on_start(self) -> None:
        """Take back the consoles, then follow the warden for as long as this actor lives."""
        self._consoles.restore(await self.lane.fetch_fds())
        self.spawn(self._follow_warden(), name="warden")

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
                self.feed(WardenConnected(containers=containers))
                await self._lost.wait()
                self.log.warn("warden_lost")
            await asyncio.sleep(RECONNECT_S)

    async def _open_consoles(self, containers: tuple[ContainerStatus, ...]) -> None:
        """Consoles of living containers that the node did not hand back: started by hand, or it was restarted too."""
        for container in containers:
            if container.state != "exited" and container.guest_id not in self._consoles:
                with contextlib.suppress(WardenRefusedError):
                    self._consoles.add(container.guest_id, await self._warden.open_console(container.guest_id))

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
                self._consoles.drop(vm_id)
            case _:
                await super().carry_out(effect)

    async def _call(self, call: CallWarden) -> None:
        try:
            answer = await self._make(call)
        except WardenRefusedError as refused:
            answer = WardenAnswered(call=call.call, error=str(refused))
        except WardenGoneError:
            return  # on reconnection, the warden's list decides
        self.feed(answer)

    async def _make(self, call: CallWarden) -> WardenAnswered:
        match call.verb:
            case Verb.CREATE:
                assert call.spec is not None  # noqa: S101 - for the type checker: every CREATE carries one
                created, master = await self._warden.create(call.spec)
                self._consoles.drop(call.vm_id)
                self._consoles.add(call.vm_id, master)
                return WardenAnswered(call=call.call, pid=created.pid, warnings=created.warnings)
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
