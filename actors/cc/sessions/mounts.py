"""A mounted guest: requests of this host's kernel go to its agent, and what the agent says goes back to the kernel.

The kernel takes the servers of FUSE for untrusted and checks what they reply. What is checked here is what would
reach beyond one mount: whether a reply is owed, and how long nobody has answered. Nothing in this process ever looks
into a mount, since it would wait for itself.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import select
from typing import TYPE_CHECKING, Final

from actors.cc.inputs import MountLost
from actors.cc.protocol import frames
from shims.agent.mounts import fuse
from shims.files import guest_mount

if TYPE_CHECKING:
    from actors.cc.sessions.session import Session

MAX_UNDER_WAY: Final = 64
"""Requests that a guest has not answered; more wait in the kernel."""
TURN: Final = 16
"""Requests that are taken before others have their turn."""
SILENT_S: Final = 30.0
"""Somebody waits, and the guest has answered nothing for so long: who waits is told so, and the mount is given up."""
LONGEST_S: Final = 300.0
"""One request has waited so long, whatever else was answered."""
ENDED: Final = "minibus has ended"


class Relay:
    """One mount."""

    def __init__(self, session: Session, number: int, device: int, source: str) -> None:
        self.number = number
        self.source = source
        self._session = session
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[int, float] = {}
        """When each request went out, the oldest first."""
        self._heard_s = self._loop.time()
        self._waiting_s: float | None = None
        """Since when somebody waits."""
        self._reading = False
        self.over = False

    # --- from the kernel

    def flow(self) -> None:
        """Take requests, or leave them with the kernel, as the guest keeps up."""
        wanted = not self.over and self._has_room
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._device, self._readable)
        else:
            self._loop.remove_reader(self._device)

    @property
    def _has_room(self) -> bool:
        return len(self._under_way) < MAX_UNDER_WAY and self._session.has_room

    def _readable(self) -> None:
        for _ in range(TURN):
            if self.over or not self._has_room:
                break
            try:
                request = os.read(self._device, fuse.MAX_REQUEST)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # whoever asked does not wait any more
                    continue
                self.lose("it was unmounted" if error.errno == errno.ENODEV else f"it was given up: {error.strerror}")
                return
            self._take(request)
        self.flow()

    def _take(self, request: bytes) -> None:
        _, operation, unique, *_ = fuse.HEADER_IN.unpack_from(request)
        if operation in fuse.FORWARDED:
            if operation not in fuse.SILENT:
                self._under_way[unique] = self._loop.time()
            self._session.send(frames.Fuse(mount=self.number, data=request))
        elif operation == fuse.INIT:
            agreed = fuse.agreed(unique, request[fuse.HEADER_IN.size :], mmap.PAGESIZE)
            if agreed is None:
                self.lose("this kernel speaks another version of FUSE")
            else:
                self._write(agreed)
        elif operation != fuse.DESTROY:
            self._write(fuse.refusal(unique, errno.ENOSYS))

    # --- from the guest

    def reply(self, data: bytes) -> None:
        """What the agent says."""
        unique = fuse.answered(data)
        if unique not in self._under_way:
            self.lose("the agent has sent what is no reply to any request")
            return
        del self._under_way[unique]
        self._heard_s = self._loop.time()
        self._write(data)
        self.flow()

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._device, data)
        except OSError as error:
            if error.errno == errno.ENOENT:  # nobody waits for it any more
                return
            if error.errno == errno.ENODEV:
                self.lose("it was unmounted")
            else:
                self.lose(f"the agent has replied what the kernel does not take: {error.strerror}")

    # --- time and end

    def tick(self, now_s: float) -> None:
        """Once a second."""
        if self.over:
            return
        if not self._under_way and (self._reading or not self._is_asked()):
            self._waiting_s = None
            return
        if self._waiting_s is None:
            self._waiting_s = now_s
        oldest_s = next(iter(self._under_way.values()), now_s)
        if now_s - max(self._waiting_s, self._heard_s) > SILENT_S:
            self.lose(f"the guest did not answer for {SILENT_S:.0f} seconds")
        elif now_s - oldest_s > LONGEST_S:
            self.lose(f"the guest left a request unanswered for {LONGEST_S:.0f} seconds")

    def _is_asked(self) -> bool:
        """Whether the kernel has a request; select(2) knows no descriptors from 1,024 on."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Whoever waits in it is told that it is gone; harmless when repeated."""
        if self.over:
            return
        self.over = True
        if self._reading:
            self._loop.remove_reader(self._device)
        os.close(self._device)
        self._session.send(frames.EndMount(mount=self.number))

    def lose(self, reason: str) -> None:
        """It cannot go on."""
        if self.over:
            return
        self.close()
        self._session.mounts.forget(self)
        server = self._session.server
        server.feed(MountLost(key=self._session.key, reason=reason))
        server.spawn(self._unmount(), name=f"unmount {self.source}")

    async def _unmount(self) -> None:
        left = await asyncio.to_thread(guest_mount.unmount, lambda source: source == self.source)
        if left:
            self._session.server.log.warn("not_unmounted", points=", ".join(left))


class Mounts:
    """What is mounted of one session: one, at most."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._relay: Relay | None = None
        self._next = 1

    def begin(self, device: int, source: str) -> None:
        """The kernel's end is there."""
        self._relay = Relay(self._session, self._next, device, source)
        self._next += 1
        self._session.send(frames.BeginMount(mount=self._relay.number))
        self._relay.flow()

    def take(self, frame: frames.Fuse) -> None:
        """A reply; those of a mount that is over come late."""
        if self._relay is not None and self._relay.number == frame.mount:
            self._relay.reply(frame.data)

    def flow(self) -> None:
        """The guest has caught up."""
        if self._relay is not None:
            self._relay.flow()

    def tick(self, now_s: float) -> None:
        """Once a second."""
        if self._relay is not None:
            self._relay.tick(now_s)

    def end(self, source: str) -> None:
        """It was asked for; the caller takes the mount off the host."""
        if self._relay is not None and self._relay.source == source:
            self._relay.close()
            self._relay = None

    def forget(self, relay: Relay) -> None:
        """It has ended."""
        if self._relay is relay:
            self._relay = None

    def close(self, reason: str) -> None:
        """The session is over."""
        if self._relay is not None:
            self._relay.lose(reason or ENDED)
