"""The shell of the `cc` actor: lines to agents, files, and the answers to questions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import msgspec

from actors.cc import views
from actors.cc.decisions import tunnel_table
from actors.cc.inputs import (
    Archive,
    Archived,
    CloseListener,
    CloseTunnels,
    HangUp,
    Keep,
    Offer,
    OpenListener,
    OpenTunnels,
    Reline,
    Remove,
    Removed,
    Survey,
    Surveyed,
    Tell,
    Wake,
)
from actors.cc.interfaces import are_wanted
from actors.cc.mounting import MountingActor
from actors.cc.sessions import live
from actors.cc.sessions.guest_pipes import Ends
from actors.cc.sessions.listeners import Listeners
from actors.cc.sessions.removal import Position, absent
from actors.cc.sessions.sessions import Sessions
from actors.cc.sessions.sources import Sources
from actors.cc.sessions.tunnels import TunnelListeners
from actors.cc.state import REQUESTS, step
from actors.cc.table import CcTable, Guest, Ledger
from actors.cc.vm_watch import VmWatch
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.errors import BusError, CancelledError, NotFoundError, UnavailableError
from bus.messages.base import WILDCARD, Event
from bus.messages.cc import (
    CcState,
    ClientInfo,
    ClientList,
    CommandList,
    ConnectedGuests,
    GetCcState,
    GetClients,
    GetCommands,
    GetConnectedGuests,
    GetGuestProcesses,
    GetOutcomes,
    GetResponses,
    GuestProcesses,
    Outcomes,
    ResponseFile,
    Responses,
)
from bus.messages.tunnel import GetTunnels, TunnelInfo, TunnelList
from bus.paths import Context
from shims.files import responses

TICK_S = 1.0
MARGIN_S = 3.0
"""An answer leaves so long before the asker gives up."""
PAUSE_S = 0.05
"""Between two looks at a command that somebody waits for."""


class CcActor(MountingActor):
    """Command and control."""

    kind = "cc"
    state_type = CcTable
    requests = REQUESTS

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self.responses = responses.Responses(context.files_dir)
        self.sources = Sources(context.files_dir, context.tag)
        self.pipe_ends = Ends(self)
        self.sessions = Sessions(self)
        self.listeners = Listeners(self, self.sessions, context.base)
        self.vms = VmWatch(self, are_wanted)
        self.tunnels = TunnelListeners(self, self.sessions.get)
        self._waiters: dict[tuple[str, int], asyncio.Event] = {}
        self._ending = False

    def initial_state(self) -> CcTable:
        """Nothing."""
        return CcTable()

    def step(self, state: CcTable, inp: Input) -> list[Effect]:
        """See `actors.cc.state`."""
        return step(state, inp)

    @property
    def table(self) -> CcTable:
        """What is known."""
        return self.state

    def publish(self, topic: str, event: Event, *, namespace: str = "", cause: str = "") -> None:
        """Tell the world."""
        super().publish(topic, event, namespace=namespace, cause=cause)

    async def on_start(self) -> None:
        """Remember who was connected."""
        self.pipe_ends.returning = {
            (guest.vm.key, guest.agent)
            for ledger in self.state.namespaces.values()
            for guest in ledger.guests.values()
            if guest.connected
        }
        self.spawn(self._destroy(self.responses.left_aside()), name="destroy")

    def on_registered(self) -> None:
        """Open lines again, then look for VMs."""
        super().on_registered()
        self.spawn(self._tick(), name="tick")
        self.spawn(self.vms.run(), name="vms")

    async def stop(self) -> None:
        """Let go of those who wait; they ask again."""
        self._ending = True
        for waiter in self._waiters.values():
            waiter.set()
        await super().stop()

    async def on_stop(self) -> None:
        """Let go of everything; what is on disk goes on from there."""
        self.tunnels.close_all()
        self.listeners.close()
        self.sessions.close()
        self.sources.close()
        self.responses.close_all()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = loop.time()
            self.sessions.tick(now_s)
            self.listeners.tick(now_s)
            self.pipe_ends.tick(now_s)

    # --- effects

    async def carry_out(self, effect: Effect) -> None:
        """What takes time goes on beside the others."""
        match effect:
            case Tell(key=key, frame=frame):
                self.sessions.tell(key, frame)
            case Offer():
                self.sessions.offer(effect)
            case Wake(namespace=namespace, id=number):
                self._wake(namespace, number)
            case Keep():
                self.keep(effect)
            case Reline(vm_ids=vm_ids):
                self.listeners.reline(vm_ids)
            case HangUp(namespace=namespace, uuid=uuid, reason=reason):
                self.sessions.hang_up(namespace, uuid, reason)
            case Remove():
                self._remove(effect)
            case Archive(namespace=namespace, time_s=time_s):
                self._archive(namespace, time_s)
            case Survey():
                self.spawn(self._survey(effect), name=f"survey {effect.msg_id}")
            case OpenListener(namespace=namespace, port=port, address=address, msg_id=msg_id):
                self.listeners.listen(namespace, port, address, msg_id)
            case CloseListener(port=port):
                self.listeners.unlisten(port)
            case OpenTunnels(tunnels=tunnels, msg_id=msg_id):
                self.spawn(self.tunnels.open(tunnels, msg_id), name=f"tunnels {msg_id}")
            case CloseTunnels(tunnels=tunnels):
                for key, number in tunnels:
                    self.tunnels.close(key, number)
            case _:
                await super().carry_out(effect)

    def _wake(self, namespace: str, number: int) -> None:
        chosen = [key for key in self._waiters if key[0] == namespace and number in (0, key[1])]
        for key in chosen:
            self._waiters.pop(key).set()

    def keep(self, effect: Keep) -> None:
        """Note beside the output how a command ended."""
        try:
            self.responses.check_in(effect.namespace, effect.id, effect.uuid)
            for name, text in (
                (responses.EXIT_CODE, "" if effect.exit_code is None else str(effect.exit_code)),
                ("stderr", f"{effect.error}\n" if effect.error else ""),
            ):
                if text:
                    output = (effect.namespace, effect.id, effect.uuid, name)
                    self.responses.note(output, text)
                    self.responses.close(output)
        except OSError as error:
            self.log.warn("response_not_kept", id=effect.id, uuid=effect.uuid, error=str(error))

    def _remove(self, effect: Remove) -> None:
        """Out of sight at once; what takes long follows."""
        error = ""
        positions: list[Position] = []
        aside: list[Path] = []
        try:
            positions = self.sessions.forget(effect.namespace, effect.ids, effect.uuid)
            positions += absent(self.state, self.responses, effect, positions)
            aside = self.responses.put_aside(effect.namespace, effect.ids, effect.uuid)
        except OSError as failure:
            error = f"responses cannot be removed: {failure.strerror or failure}"
            self.log.warn("responses_not_removed", error=error)
        self.feed(Removed(msg_id=effect.msg_id, error=error, positions=tuple(positions)))
        if aside:
            self.spawn(self._destroy(aside), name="destroy")

    def _archive(self, namespace: str, time_s: float) -> None:
        self.sessions.forget(namespace, None, "")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time_s))
        try:
            self.responses.archive(namespace, stamp)
        except OSError as error:
            self.log.warn("responses_not_put_aside", namespace=namespace, error=str(error))
        self.feed(Archived(namespace=namespace))

    async def _destroy(self, aside: list[Path]) -> None:
        with contextlib.suppress(OSError):  # the next start tries again
            await asyncio.to_thread(self.responses.destroy, aside)

    async def _survey(self, effect: Survey) -> None:
        try:
            files = await self.sources.survey(effect.namespace, effect.patterns)
        except BusError as error:
            self.feed(Surveyed(msg_id=effect.msg_id, code=error.code, error=str(error)))
        else:
            self.feed(Surveyed(msg_id=effect.msg_id, files=files))

    # --- questions

    def _ledger(self, request: RequestContext) -> Ledger | None:
        return self.state.namespaces.get(request.namespace)

    @query
    async def get_state(self, msg: GetCcState, request: RequestContext) -> CcState:
        """What is in force."""
        ledger = self._ledger(request)
        clients = len(self.sessions.of(request.namespace))
        if ledger is None:
            return CcState(clients=clients)
        listeners = tuple(f"{address or '*'}:{port}" for port, address in sorted(ledger.listeners.items()))
        return CcState(clients=clients, filter=ledger.filter, prefix=ledger.prefix, listeners=listeners)

    @query
    async def get_connected_guests(self, msg: GetConnectedGuests, request: RequestContext) -> ConnectedGuests:
        """Whose agents are connected, for tables of VMs."""
        guests = (session.guest() for session in self.sessions.of(request.namespace))
        return ConnectedGuests(uuids=tuple(guest.vm.uuid for guest in guests if guest is not None))

    @query
    async def get_clients(self, msg: GetClients, request: RequestContext) -> ClientList:
        """Who is connected."""
        now_s = asyncio.get_running_loop().time()
        found = []
        for session in self.sessions.of(request.namespace):
            guest = session.guest()
            if guest is None:
                continue
            facts = guest.facts
            info = ClientInfo(
                uuid=guest.vm.uuid,
                vm=guest.vm.name,
                hostname=facts.hostname,
                arch=facts.arch,
                os=facts.os,
                ips=facts.ips,
                macs=facts.macs,
                release=facts.release,
                connected_s=now_s - session.began_s,
                silent_s=now_s - session.line.heard_s,
            )
            found.append(info)
        return ClientList(clients=tuple(sorted(found, key=lambda client: client.uuid)))

    @query
    async def get_commands(self, msg: GetCommands, request: RequestContext) -> CommandList:
        """The list."""
        listed = views.command_list(self._ledger(request), msg.id)
        return live.command_list(self._ledger(request), listed, self.sessions.of(request.namespace))

    @query
    async def get_outcomes(self, msg: GetOutcomes, request: RequestContext) -> Outcomes:
        """How far a command is; if it is waited for, when there is nothing more to wait for."""
        loop = asyncio.get_running_loop()
        left_s = request.deadline - loop.time()
        until_s = request.deadline - min(MARGIN_S, left_s / 5)
        if msg.wait:
            await self.vms.catch_up(request.namespace, left_s / 2)
        woken = False
        while True:
            returning = self.sessions.returning(request.namespace)
            found = views.outcomes(self._ledger(request), msg.id, returning)
            if found.done or not msg.wait or loop.time() >= until_s:
                ledger = self.state.namespaces[request.namespace]
                return live.outcomes(ledger, found, self.sessions.of(request.namespace))
            if self._ending:
                raise CancelledError("the actor cc is ending")
            if woken:
                woken = False
                await asyncio.sleep(min(PAUSE_S, until_s - loop.time()))  # hundreds end at about the same time
                continue
            waiter = self._waiters.setdefault((request.namespace, msg.id), asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(until_s, loop.time() + TICK_S) if returning else until_s):
                    woken = await waiter.wait()

    @query
    async def get_responses(self, msg: GetResponses, request: RequestContext) -> Responses:
        """A page of what has come back."""
        ledger = self._ledger(request)
        ids, fetched = views.response_ids(ledger, msg.target), views.fetched_ids(ledger)
        try:
            page = await asyncio.to_thread(
                self.responses.page,
                request.namespace,
                ids,
                msg.cursor,
                with_data=msg.with_data,
                most=msg.most,
                fetched=fetched,
            )
        except OSError as error:
            raise UnavailableError(f"responses cannot be read: {error.strerror or error}") from error
        if page is None:
            if msg.target == WILDCARD:
                return Responses()
            raise NotFoundError(f"no responses for {msg.target[:200]}")
        files = tuple(
            ResponseFile(
                id=entry.id, uuid=entry.uuid, name=entry.name, size=entry.size, data=entry.data, offset=entry.offset
            )
            for entry in page.entries
        )
        return Responses(files=files, cursor=page.cursor)

    def _guests(self, request: RequestContext, target: str) -> list[Guest]:
        ledger = self._ledger(request)
        if target == WILDCARD:
            return [guest for guest in ledger.guests.values() if not guest.flushed] if ledger else []
        guest = tunnel_table.find(ledger, target)
        if guest is None:
            raise NotFoundError(f"vm not found: {target[:200]}")
        return [guest]

    @query
    async def get_processes(self, msg: GetGuestProcesses, request: RequestContext) -> GuestProcesses:
        """What runs in the background of guests."""
        found = []
        for guest in self._guests(request, msg.target):
            session = self.sessions.get(guest.vm.key)
            if session is None:
                if msg.target != WILDCARD:
                    raise NotFoundError(f"no client with uuid: {guest.vm.uuid}")
                continue
            for one in session.processes.values():
                command = session.command(one.id)
                found.append(msgspec.structs.replace(one, vm=guest.vm.name, id=command.id if command else 0))
        return GuestProcesses(processes=tuple(sorted(found, key=lambda one: (one.vm, one.pid))))

    @query
    async def get_tunnels(self, msg: GetTunnels, request: RequestContext) -> TunnelList:
        """Tunnels, with how many connections they carry."""
        ledger = self._ledger(request)
        found = []
        for guest in self._guests(request, msg.target):
            session = self.sessions.get(guest.vm.key)
            for tunnel in (ledger.tunnels.get(guest.vm.uuid, {}) if ledger else {}).values():
                found.append(
                    TunnelInfo(
                        id=tunnel.id,
                        vm=guest.vm.name,
                        uuid=guest.vm.uuid,
                        source=tunnel.source,
                        host=tunnel.host,
                        port=tunnel.port,
                        reverse=tunnel.reverse,
                        connections=session.tunnels.count(tunnel.id) if session else 0,
                    )
                )
        return TunnelList(tunnels=tuple(sorted(found, key=lambda one: (one.vm, one.id))))
