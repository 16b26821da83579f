"""One connection to a guest, whatever it is made of: bytes become frames, and no line gets more than its share.

A line that floods is read more slowly, one that sends no frames is closed, and one that does not read is not written
to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from actors.cc.protocol import frames
from actors.cc.sessions.greetings import Greetings
from actors.cc.table import Key
from shims.agent.line.wire import FLUSH, PREAMBLE, FrameReader, WireError

TURN_FRAMES: Final = 64
"""Frames of one line that are looked at before others have their turn."""
RATE: Final = 5_000.0
"""Frames a second that one line may send for long; a chunk of bulk data counts a fifth."""
BULK_BYTES: Final = 16_384
MAX_GARBAGE: Final = 1024 * 1024
"""Bytes without a frame on a socket; on a serial line a boot loader may say anything."""
SOFT_BYTES: Final = 64 * 1024
"""Waiting to be written, before commands and files have to wait."""
HARD_BYTES: Final = 4 * 1024 * 1024
"""Waiting to be written, before a guest that does not read is given up."""


class Ends(Protocol):
    """Who works with a line."""

    def opened(self, line: Line) -> None:
        """It can be used."""

    def took(self, line: Line, frame: frames.AgentFrame) -> None:
        """A frame has come; raises WireError if it cannot be meant."""

    def restarted(self, line: Line) -> None:
        """The agent begins a new session."""

    def pressed(self, line: Line) -> None:
        """The guest reads more slowly than is written."""

    def writable(self, line: Line) -> None:
        """There is room again."""

    def closed(self, line: Line) -> None:
        """It is gone."""


class Line(asyncio.Protocol):
    """See the module."""

    def __init__(self, ends: Ends, *, namespace: str, vm_id: int | None, dialled: bool = False, peer: str = "") -> None:
        """`peer` is the address from which it comes, if it comes over a network."""
        self.namespace = namespace
        self.peer = peer
        self.vm_id = vm_id
        """Whose line it is; None if only the agent can say (TCP)."""
        self.dialled = dialled
        """A serial line, which nobody else opens."""
        self.key: Key | None = None
        """Once there is a session."""
        self.loop = asyncio.get_running_loop()
        self.opened_s = self.heard_s = self.said_s = self.loop.time()
        self.full = False
        self.gone = False
        self.reason = ""
        self._ends = ends
        self._reader = FrameReader()
        self._waiting: deque[bytes | None] = deque()
        self._tokens = RATE
        self._filled_s = self.opened_s
        self._greetings = Greetings(self.opened_s)
        self._held: asyncio.Handle | None = None
        """Reading is paused until then."""
        self._transport: asyncio.Transport | None = None

    # --- writing

    def send(self, frame: frames.Frame) -> None:
        """Send a frame now; a line that does not take its bytes is closed."""
        self.write(frames.encode(frame))

    def write(self, data: bytes) -> None:
        """Send bytes that are frames."""
        if self._transport is None or self.gone:
            return
        self.said_s = self.loop.time()
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > HARD_BYTES:
            self.close("the agent does not read")

    def may_greet(self) -> bool:
        """Whether the agent has not begun too many sessions lately."""
        return self._greetings.one_more(self.loop.time())

    def greet(self, *, newly_opened: bool = False) -> None:
        """The beginning of a session; whoever had a serial line before may have ended in the middle of a frame."""
        self.write(FLUSH + PREAMBLE if newly_opened else PREAMBLE)

    def close(self, reason: str = "", *, flush: bool = False) -> None:
        """Close it; harmless when repeated."""
        if self.gone:
            return
        self.gone = True
        self.reason = self.reason or reason
        if self._held is not None:
            self._held.cancel()
        if self._transport is not None:
            if flush:
                self._transport.close()
            else:
                self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream socket
        self._transport = transport
        if self.gone:  # it was given up before it stood
            transport.abort()
            return
        transport.set_write_buffer_limits(high=SOFT_BYTES, low=SOFT_BYTES // 4)
        self._ends.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        why = getattr(exc, "strerror", None) or str(exc) if exc else "the agent has closed it"
        self.reason = self.reason or why
        self.gone = True
        if self._held is not None:
            self._held.cancel()
        self._waiting.clear()
        self._ends.closed(self)

    def pause_writing(self) -> None:
        """The guest reads more slowly than we write."""
        self.full = True
        if not self.gone:
            self._ends.pressed(self)

    def resume_writing(self) -> None:
        """It has caught up."""
        self.full = False
        if not self.gone:
            self._ends.writable(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.gone:
            return
        self.heard_s = self.loop.time()
        self._waiting.extend(self._reader.feed(data))
        if self._reader.lost or self._reader.skipped > MAX_GARBAGE:
            self._garbage()
        if self._held is None:
            self._work()

    def _garbage(self) -> None:
        if not self.dialled:
            self.close("it sends what is no frame")
        elif self._reader.lost and self.key is not None:
            self._waiting.append(None)  # after what was still good
            self.greet()

    # --- frames in turn

    def _work(self) -> None:
        """Look at some frames; if more wait, go on after all others had their turn."""
        self._held = None
        done = 0
        while self._waiting and not self.gone:
            if done >= TURN_FRAMES or self._tokens <= 0:
                self._hold()
                return
            done += 1
            self._one(self._waiting.popleft())
        if self._transport is not None and not self.gone:
            self._transport.resume_reading()

    def _hold(self) -> None:
        if self._transport is None:
            return
        self._transport.pause_reading()
        now_s = self.loop.time()
        self._tokens = min(RATE, self._tokens + (now_s - self._filled_s) * RATE)
        self._filled_s = now_s
        if self._tokens > 0:
            self._held = self.loop.call_soon(self._work)
        else:
            self._held = self.loop.call_later(0.05, self._refill)

    def _refill(self) -> None:
        now_s = self.loop.time()
        self._tokens = min(RATE, self._tokens + (now_s - self._filled_s) * RATE)
        self._filled_s = now_s
        self._work()

    def _one(self, body: bytes | None) -> None:
        try:
            if body is None:
                self._tokens -= 10.0
                self._ends.restarted(self)
                return
            self._tokens -= 0.2 if len(body) >= BULK_BYTES else 1.0
            frame = frames.decode(body)
            if frame is not None:
                self._ends.took(self, frame)
        except WireError as error:
            self.violated(str(error))

    def violated(self, why: str) -> None:
        """What the agent sends cannot be meant: a socket is closed, on a serial line it is asked to begin anew."""
        if not self.dialled:
            self.close(f"protocol error: {why}"[:300])
            return
        self._waiting.clear()
        self._ends.restarted(self)
        self._tokens -= 1000.0  # whoever goes on like this is heard rarely
        self.greet()
