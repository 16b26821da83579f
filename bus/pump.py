"""Drives a plain ZeroMQ socket from the asyncio loop.

Four times the throughput of zmq.asyncio, which makes a future for every message. A ZeroMQ FD is edge-triggered
(zmq_getsockopt(3), ZMQ_FD): after it fires, and after every send, ZMQ_EVENTS must be looked at, or messages stick.

Every message of the bus passes here several times, so it is done with the functions of pyzmq's backend and with plain
numbers: what lies around them makes an enum of each flag, which takes four times as long as the sending itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, cast

import zmq
from zmq.backend import Socket as Backend

BURST = 500
"""Messages taken in one go, before other work of the loop gets its turn."""
BURST_BYTES = 4 * 1024 * 1024
"""Likewise, of large ones."""
LARGE_BYTES = 8 * 1024
"""From here on making bytes of what ZeroMQ holds, and a message of bytes again, takes longer than all else."""


_NOBLOCK = int(zmq.NOBLOCK)
_MORE_FOLLOW = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)


class Pump:
    """Calls `on_frames` for every message that arrives on `sock`, until `close`."""

    burst = BURST

    def __init__(self, sock: zmq.Socket[bytes], on_frames: Callable[[list[bytes]], None]) -> None:
        self._sock = sock
        self._on_frames = on_frames
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._scheduled = False
        self._loop.add_reader(sock.FD, self._drain)
        self._wake()

    def send(self, frames: list[bytes]) -> None:
        """Send without waiting; raises zmq.Again if the peer's queue is full."""
        sock, last = self._sock, len(frames) - 1
        for number, frame in enumerate(frames):
            Backend.send(sock, frame, _NOBLOCK if number == last else _MORE_FOLLOW)
        if not self._scheduled and int(Backend.get(sock, _EVENTS)) & _POLLIN:
            self._wake()

    def look(self) -> None:
        """Take what has arrived, new connections among it: sending alone does not always notice those at once."""
        self._drain()

    def close(self) -> None:
        """Stop and close the socket; harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.FD)
            self._sock.close(linger=200)

    def _receive(self) -> list[bytes]:
        return [frame.bytes for frame in _frames(self._sock)]

    def _emptied(self) -> None:
        """All that had arrived has been taken."""

    def _wake(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        size_bytes = 0
        for _ in range(self.burst):
            try:
                frames = self._receive()
            except zmq.Again:
                self._emptied()
                return
            except zmq.ZMQError:
                if self._closed:
                    return
                raise
            try:
                self._on_frames(frames)
            except Exception:
                self._wake()  # the descriptor fires once for all that has arrived: the rest must not stick
                raise
            if self._closed:
                return
            size_bytes += len(frames[-1])  # the body
            if size_bytes > BURST_BYTES:
                break
        self._wake()


class ForwardingPump(Pump):
    """As Pump; a large last part stays where ZeroMQ has it, and is not copied when it is sent on.

    It can be measured, decoded and sent as bytes can, and nothing else is done with it.
    """

    def _receive(self) -> list[bytes]:
        *others, last = _frames(self._sock)
        body = last.bytes if len(last) < LARGE_BYTES else cast("bytes", last)
        return [*(frame.bytes for frame in others), body]


class Origin(NamedTuple):
    """Where a message came from, as the socket knows and the sender cannot change."""

    user: str = ""
    """What the ZAP handler called the client; empty if nobody did."""
    fd: int = -1
    """Descriptor of the connection; -1 if there is none."""


class OriginPump(Pump):
    """As Pump; `origin` says where the message that is being handled came from.

    Those are strangers' messages, so each socket has its turn soon, whatever comes in at another.
    """

    burst = 50

    def __init__(
        self,
        sock: zmq.Socket[bytes],
        on_frames: Callable[[list[bytes]], None],
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        self.origin = Origin()
        self._on_empty = on_empty
        super().__init__(sock, on_frames)

    def _receive(self) -> list[bytes]:
        frames = _frames(self._sock)
        self.origin = _origin(frames[-1])
        return [frame.bytes for frame in frames]

    def _emptied(self) -> None:
        self._on_empty()


def _origin(frame: zmq.Frame) -> Origin:
    try:
        return Origin(str(frame.get("User-Id")), int(frame.get(zmq.SRCFD)))
    except (AttributeError, zmq.ZMQError):  # of the library itself: a connection was closed
        return Origin()


def _frames(sock: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """One whole message; raises zmq.Again if there is none."""
    frames = [Backend.recv(sock, _NOBLOCK, False)]
    while frames[-1].more:
        frames.append(Backend.recv(sock, _NOBLOCK, False))
    return frames
