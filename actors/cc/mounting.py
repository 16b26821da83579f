"""The part of the actor that makes mounts and takes them off. What may block is done by threads."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

from actors.cc.inputs import CloseMounts, Mounted, OpenMount, Unmounted
from actors.cc.interfaces import LookingActor
from actors.cc.sessions.sessions import Sessions
from actors.cc.table import Ledger
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect
from bus.errors import BusError, UnavailableError
from bus.messages.mount import GetMounts, MountInfo, MountList, MountState
from bus.paths import Context
from shims.files import guest_mount

FEATURE: Final = "mount"
"""What an agent says that can serve its file systems."""


class MountingActor(LookingActor):
    """An actor that mounts guests on this host."""

    sessions: Sessions

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self._one_by_one = asyncio.Lock()
        """Two guests on one directory would both find it empty."""

    def on_registered(self) -> None:
        """First of all, take off what the process before has left."""
        self._clear()
        super().on_registered()

    async def stop(self) -> None:
        """Take everything off; what was mounted is noted as lost."""
        await super().stop()
        self._clear()

    def _clear(self) -> None:
        """None of these is served any more, so this never waits for a guest."""
        left = guest_mount.unmount(guest_mount.is_of(self.context.tag))
        if left:
            self.log.warn("not_unmounted", points=", ".join(left))

    async def carry_out(self, effect: Effect) -> None:
        """As the base, and mounts."""
        match effect:
            case OpenMount():
                self.spawn(self._open(effect), name=f"mount {effect.key[1]}")
            case CloseMounts():
                await self._close(effect)
            case _:
                await super().carry_out(effect)

    async def _open(self, effect: OpenMount) -> None:
        async with self._one_by_one:
            try:
                path, source = await self._mount(effect)
                self.feed(Mounted(msg_id=effect.msg_id, path=path, source=source))
            except BusError as error:
                self.feed(Mounted(msg_id=effect.msg_id, code=error.code, error=str(error)))

    async def _mount(self, effect: OpenMount) -> tuple[str, str]:
        """The path without symbolic links, and what the kernel calls it; raises BusError."""
        session, guest = self.sessions.get(effect.key), self.state.guest(effect.key)
        if session is None or guest is None:
            raise UnavailableError("the agent of this guest is not connected any more")
        if FEATURE not in session.features:
            raise UnavailableError(
                f"the agent in {guest.vm.name} is too old to be mounted: put a newer minibus-agent into it"
            )
        source = guest_mount.source_of(self.context.tag, guest.vm.vm_id)
        own = (self.context.base, self.context.files_dir)
        device, path = await asyncio.to_thread(guest_mount.mount, effect.path, source, own)
        if session.over or not self._is_wanted(effect):
            os.close(device)
            await asyncio.to_thread(guest_mount.unmount, lambda one: one == source)
            raise UnavailableError(f"{guest.vm.name} went away, or was unmounted, before it was mounted")
        session.mounts.begin(device, source)
        return path, source

    def _is_wanted(self, effect: OpenMount) -> bool:
        ledger = self.state.namespaces.get(effect.key[0])
        own = ledger.mounts.get(effect.key[1]) if ledger else None
        return own is not None and own.state is MountState.MOUNTING and own.asked == effect.path

    async def _close(self, effect: CloseMounts) -> None:
        sources = {source for _, source in effect.mounts}
        for key, source in effect.mounts:
            session = self.sessions.get(key)
            if session is not None:
                session.mounts.end(source)
        left = await asyncio.to_thread(guest_mount.unmount, lambda source: source in sources) if sources else []
        error = f"{left[0]} cannot be unmounted: something else is mounted on it" if left else ""
        if effect.msg_id:
            self.feed(Unmounted(msg_id=effect.msg_id, error=error))
        elif error:
            self.log.warn("not_unmounted", error=error)

    @query
    async def get_mounts(self, msg: GetMounts, request: RequestContext) -> MountList:
        """By VM."""
        ledger = self.state.namespaces.get(request.namespace) or Ledger(name="")
        found = []
        for uuid, own in ledger.mounts.items():
            guest = ledger.guests.get(uuid)
            if guest is not None:
                info = MountInfo(
                    vm=guest.vm.name,
                    uuid=uuid,
                    path=own.path,
                    source=own.source,
                    state=own.state,
                    reason=own.reason,
                )
                found.append(info)
        return MountList(mounts=tuple(sorted(found, key=lambda one: one.vm)))
