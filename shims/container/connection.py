"""The warden's side of its clients: one SOCK_SEQPACKET connection each, any number of them."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from shims.container.descriptors import close_descriptor, descriptor
from shims.container.loop import EPOLLIN, EPOLLOUT, Loop
from shims.container.protocol import MAX_PACKET, AnyAnswer, AnyCall, Refused

MAX_QUEUED: Final = 20_000
"""Answers waiting for a client that does not read; beyond it the client is cut off."""

_PACKETS_A_TURN: Final = 32
_ROOM_FOR_ONE: Final = socket.CMSG_SPACE(4)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyCall)
_buffer = bytearray(MAX_PACKET + 1)
_view = memoryview(_buffer)


class _Numbered(msgspec.Struct):
    """What has to be readable of a call so that it can be refused."""

    call: int


class Connection:
    """One client. `on_call` gets each decoded call; `on_gone` is called once when the client has gone."""

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        on_call: Callable[[Connection, AnyCall], None],
        on_gone: Callable[[Connection], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._on_call = on_call
        self._on_gone = on_gone
        self._queue: deque[tuple[bytes, int]] = deque()
        self._attached = -1
        """The descriptor that came with the call which is being handled."""
        self.is_open = True
        loop.watch(sock.fileno(), self._ready)

    def send(self, answer: AnyAnswer, fd: int = -1) -> None:
        """Send `answer`, with a copy of `fd`, now or as soon as the client reads; dropped if it is gone."""
        if not self.is_open:
            return
        packet = _encoder.encode(answer)
        if self._queue or not self._try(packet, fd):
            self._enqueue(packet, fd)

    def take_descriptor(self) -> int:
        """The descriptor that came with the call which is being handled, to be closed by the taker; -1 if none did."""
        fd, self._attached = self._attached, -1
        return fd

    def close(self) -> None:
        """Let go of the client; harmless when repeated."""
        if self.is_open:
            self.is_open = False
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            for _, fd in self._queue:
                if fd >= 0:
                    os.close(fd)
            self._queue.clear()
            self._on_gone(self)

    def _enqueue(self, packet: bytes, fd: int) -> None:
        if not self.is_open:
            return
        if len(self._queue) >= MAX_QUEUED:
            self.close()
            return
        if not self._queue:
            self._loop.change(self._sock.fileno(), EPOLLIN | EPOLLOUT)
        self._queue.append((packet, os.dup(fd) if fd >= 0 else -1))

    def _try(self, packet: bytes, fd: int) -> bool:
        """False if the client's queue is full; closes the connection if it is broken."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        try:
            self._sock.sendmsg([packet], rights, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
        return True

    def _ready(self, events: int) -> None:
        if events & EPOLLOUT:
            self._flush()
        if events & ~EPOLLOUT:
            self._read()

    def _flush(self) -> None:
        while self._queue:
            packet, fd = self._queue[0]
            if not self._try(packet, fd):
                return
            if self.is_open:
                self._queue.popleft()
                if fd >= 0:
                    os.close(fd)
        if self.is_open:
            self._loop.change(self._sock.fileno(), EPOLLIN)

    def _read(self) -> None:
        for _ in range(_PACKETS_A_TURN):
            if not self.is_open:
                return
            try:
                size, ancillary, _, _ = self._sock.recvmsg_into([_buffer], _ROOM_FOR_ONE, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                size, ancillary = 0, []
            self._attached = descriptor(ancillary)
            if size == 0 or size > MAX_PACKET:  # gone, or cut short by the kernel and so not to be understood
                close_descriptor(self.take_descriptor())
                self.close()
                return
            self._handle(_view[:size])
            close_descriptor(self.take_descriptor())

    def _handle(self, packet: memoryview) -> None:
        try:
            call = _decoder.decode(packet)
        except msgspec.MsgspecError as error:
            self._refuse(packet, str(error))
        else:
            self._on_call(self, call)

    def _refuse(self, packet: memoryview, reason: str) -> None:
        try:
            number = msgspec.msgpack.decode(packet, type=_Numbered).call
        except msgspec.MsgspecError:
            self.close()  # no number, no answer: whoever waits must at least see the end
        else:
            self.send(Refused(call=number, message=f"the warden does not understand the call: {reason}"))
