"""The warden as the container actor sees it: coroutines over its socket, many calls under way at once."""

from __future__ import annotations

import array
import asyncio
import errno
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from shims.container.descriptors import close_descriptor, descriptor
from shims.container.protocol import (
    MAX_PACKET,
    AnyAnswer,
    AnyCall,
    ConsoleOpened,
    Containers,
    ContainerSpec,
    ContainerStatus,
    CreateContainer,
    Created,
    Exited,
    ForgetContainer,
    FreezeContainer,
    KeepConsole,
    KillContainer,
    ListContainers,
    OpenConsole,
    Refused,
    Shutdown,
    StartContainer,
)

_PACKETS_A_TURN: Final = 64
_Answer = Created | ConsoleOpened | Containers
_T = TypeVar("_T")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyAnswer)


class WardenError(Exception):
    """Base of what the calls of `WardenClient` raise."""


class WardenRefusedError(WardenError):
    """The warden refused; `str()` is its one sentence. Nothing was done."""


class WardenGoneError(WardenError):
    """The connection is lost: whether the call was carried out is not known. Connect anew and ask for the list."""


class WardenClient:
    """One connection to the warden of a base directory (`<base>/run/warden`)."""

    def __init__(
        self,
        path: Path,
        *,
        on_exited: Callable[[Exited], None] | None = None,
        on_gone: Callable[[], None] | None = None,
    ) -> None:
        """`on_exited` gets every end of a container; `on_gone` is called once if the warden leaves the connection."""
        self._path = path
        self._on_exited = on_exited
        self._on_gone = on_gone
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[tuple[AnyAnswer, int]]] = {}
        self._parts: dict[int, list[ContainerStatus]] = {}
        self._queue: deque[tuple[bytes, int]] = deque()
        self._sock: socket.socket | None = None
        self._buffer = bytearray(MAX_PACKET + 1)

    @property
    def is_connected(self) -> bool:
        """Whether calls have a chance."""
        return self._sock is not None

    async def connect(self) -> None:
        """Connect; raises `WardenGoneError` if nobody listens."""
        if self._sock is not None:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(self._path))
        except OSError as error:
            sock.close()
            raise WardenGoneError(f"no warden listens on {self._path}: {error.strerror}") from None
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock, self._read)

    def close(self) -> None:
        """Leave; calls under way raise `WardenGoneError`. The containers are not touched."""
        self._disconnect()

    async def create(self, spec: ContainerSpec) -> tuple[Created, int]:
        """Build a container up to its frozen state; the descriptor is its pty master and now yours."""
        answer, fd = await self._call(CreateContainer(call=next(self._numbers), spec=spec))
        return _expect(answer, Created), fd

    async def start(self, guest_id: int) -> None:
        """Let it run its init, or go on."""
        await self._call(StartContainer(call=next(self._numbers), guest_id=guest_id))

    async def freeze(self, guest_id: int) -> None:
        """Pause it; it has stopped when this returns."""
        await self._call(FreezeContainer(call=next(self._numbers), guest_id=guest_id))

    async def kill(self, guest_id: int) -> None:
        """End it; nothing of it is left when this returns, but its record."""
        await self._call(KillContainer(call=next(self._numbers), guest_id=guest_id))

    async def forget(self, guest_id: int) -> None:
        """Drop the record of an ended container."""
        await self._call(ForgetContainer(call=next(self._numbers), guest_id=guest_id))

    async def open_console(self, guest_id: int) -> int:
        """One more copy of its pty master; yours to close."""
        answer, fd = await self._call(OpenConsole(call=next(self._numbers), guest_id=guest_id))
        _expect(answer, ConsoleOpened)
        return fd

    async def keep_console(self, guest_id: int, master: int) -> None:
        """Give a warden that was restarted a copy of a pty master; yours stays open."""
        await self._call(KeepConsole(call=next(self._numbers), guest_id=guest_id), master)

    async def list(self) -> tuple[ContainerStatus, ...]:
        """Everything the warden has a record of."""
        answer, _ = await self._call(ListContainers(call=next(self._numbers)))
        return _expect(answer, Containers).containers

    async def shutdown(self) -> None:
        """End the warden; refused while it owns a living container."""
        await self._call(Shutdown(call=next(self._numbers)))

    async def _call(self, call: AnyCall, fd: int = -1) -> tuple[AnyAnswer, int]:
        if self._sock is None:
            raise WardenGoneError("there is no connection to the warden")
        packet = _encoder.encode(call)
        if len(packet) > MAX_PACKET:
            raise WardenRefusedError(f"the description of the container is longer than {MAX_PACKET} bytes")
        future: asyncio.Future[tuple[AnyAnswer, int]] = asyncio.get_running_loop().create_future()
        self._calls[call.call] = future
        self._send(packet, fd)
        try:
            return await future
        finally:
            self._calls.pop(call.call, None)
            self._parts.pop(call.call, None)

    def _send(self, packet: bytes, fd: int) -> None:
        if not self._queue and self._try(packet, fd):
            return
        if self._sock is not None:
            if not self._queue:
                asyncio.get_running_loop().add_writer(self._sock, self._flush)
            self._queue.append((packet, os.dup(fd) if fd >= 0 else -1))

    def _try(self, packet: bytes, fd: int) -> bool:
        """False if the warden's queue is full; the connection ends if it is broken."""
        if self._sock is None:
            return True
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
            self._sock.sendmsg([packet], rights, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                return False
            self._lost()
        return True

    def _flush(self) -> None:
        while self._queue and self._try(*self._queue[0]):
            if self._queue:
                close_descriptor(self._queue.popleft()[1])
        if not self._queue and self._sock is not None:
            asyncio.get_running_loop().remove_writer(self._sock)

    def _read(self) -> None:
        for _ in range(_PACKETS_A_TURN):
            if self._sock is None:
                return
            try:
                size, ancillary, _, _ = self._sock.recvmsg_into(
                    [self._buffer], socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                size, ancillary = 0, []
            if size == 0:
                self._lost()
                return
            self._handle(memoryview(self._buffer)[:size], descriptor(ancillary))

    def _handle(self, packet: memoryview, fd: int) -> None:
        try:
            answer = _decoder.decode(packet)
        except msgspec.MsgspecError:  # a warden of another version: do not guess
            close_descriptor(fd)
            self._lost()
            return
        if isinstance(answer, Exited):
            close_descriptor(fd)
            if self._on_exited is not None:
                self._on_exited(answer)
            return
        if isinstance(answer, Containers):
            parts = self._parts.setdefault(answer.call, [])
            parts += answer.containers
            if answer.more:
                return
            answer = Containers(call=answer.call, containers=tuple(parts))
        self._resolve(answer, fd)

    def _resolve(self, answer: Created | ConsoleOpened | Containers | Refused | AnyAnswer, fd: int) -> None:
        future = self._calls.get(answer.call) if not isinstance(answer, Exited) else None
        if future is None or future.done():  # whoever asked was cancelled
            close_descriptor(fd)
        elif isinstance(answer, Refused):
            close_descriptor(fd)
            future.set_exception(WardenRefusedError(answer.message))
        else:
            future.set_result((answer, fd))

    def _lost(self) -> None:
        if self._disconnect() and self._on_gone is not None:
            self._on_gone()

    def _disconnect(self) -> bool:
        """False if there was no connection."""
        if self._sock is None:
            return False
        sock, self._sock = self._sock, None
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.remove_writer(sock)
        sock.close()
        for _, fd in self._queue:
            close_descriptor(fd)
        self._queue.clear()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(WardenGoneError("the connection to the warden is lost"))
        return True


def _expect(answer: AnyAnswer, kind: type[_T]) -> _T:
    if not isinstance(answer, kind):
        raise WardenRefusedError(f"the warden answered {type(answer).__name__} instead of {kind.__name__}")
    return answer
