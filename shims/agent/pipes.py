"""Ends of the namespace's pipes in this guest: a program's input and output, and local users of `-pipe`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shims.agent.line.wire import CHUNK

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

WINDOW = 16
"""Deliveries under way."""
MAX_DELIVERY = 1 << 20
"""Bytes; a longer line is cut into several messages."""
MAX_NAME = 200


class Channel:
    """One end of one pipe."""

    writes = False

    def __init__(self, agent: Agent, pipe: str) -> None:
        if not 0 < len(pipe) <= MAX_NAME:
            raise ValueError("the name of a pipe has 1 to 200 characters")
        self._agent = agent
        self.pipe = pipe
        self.after = 0
        self.is_open = True
        self.number = agent.pipes.add(self)
        self.announce()

    def announce(self) -> None:
        """At the beginning, and in each new session."""
        self._send({"type": "pipe", "pipe": self.pipe, "writes": self.writes, "after": self.after})

    def _send(self, message: Message) -> None:
        self._agent.session.send({"channel": self.number, **message})

    def close(self, error: str = "") -> None:
        """This end ends; the server is told."""
        if self.is_open:
            self._send({"type": "pipe_end", "error": error})
            self.ended("")

    def ended(self, error: str) -> None:
        """There is no pipe any more."""
        self.is_open = False
        self._agent.pipes.remove(self.number)

    def data(self, message: Message) -> None:
        """A piece of a delivery has come."""

    def acknowledged(self, number: int) -> None:
        """The server's side has dealt with what was written."""


class ReadEnd(Channel):
    """`deliver(data, done)` is given pieces, one at a time, and calls `done` when it has put one away."""

    def __init__(
        self,
        agent: Agent,
        pipe: str,
        deliver: Callable[[bytes, Callable[[], None]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._deliver, self._on_end = deliver, on_end
        self._queue: deque[tuple[int, int, bytes, bool]] = deque()
        """Number, offset, data, whether more of it follows."""
        self._written = (0, 0)
        """The delivery that was begun, and how much of it is written."""
        self._busy = False
        self._end: str | None = None
        super().__init__(agent, pipe)

    def announce(self) -> None:
        """What has not been delivered comes again."""
        self._queue.clear()
        super().announce()

    def data(self, message: Message) -> None:
        """Queue a piece; the server sends no more than its window."""
        piece = (int(message["number"]), int(message.get("offset", 0)), bytes(message["data"]), bool(message["more"]))
        self._queue.append(piece)
        self._next()

    def _next(self) -> None:
        while self._queue and not self._busy and self.is_open:
            number, offset, data, more = self._queue.popleft()
            if number > self.after:
                begun, count = self._written
                have = count if begun == number else 0
                data = data[max(0, have - offset) :]
                self._written = (number, max(have, offset) + len(data))
                self._busy = True
                self._deliver(data, lambda number=number, more=more: self._delivered(number, more))  # type: ignore[misc]
            elif not more:
                self._send({"type": "pipe_ack", "number": number})
        if self._end is not None and not self._queue and not self._busy and self.is_open:
            super().ended(self._end)
            self._on_end(self._end)

    def _delivered(self, number: int, more: bool) -> None:
        self._busy = False
        if not self.is_open:
            return
        if not more:
            self.after = number
            self._send({"type": "pipe_ack", "number": number})
        self._next()

    def ended(self, error: str) -> None:
        """After what is still to be delivered."""
        self._end = error
        self._next()

    def close(self, error: str = "") -> None:
        """Nobody here reads any more."""
        if self.is_open:
            self._send({"type": "pipe_end", "error": error})
            super().ended("")


class WriteEnd(Channel):
    """Takes lines, keeps them until they are dealt with. `on_room` and `on_end` are called."""

    writes = True

    def __init__(self, agent: Agent, pipe: str, on_room: Callable[[], None], on_end: Callable[[str], None]) -> None:
        self._on_room, self._on_end = on_room, on_end
        self._unanswered: deque[tuple[int, bytes]] = deque()
        self._last = 0
        self._closing = False
        super().__init__(agent, pipe)

    @property
    def has_room(self) -> bool:
        """For one more."""
        return len(self._unanswered) < WINDOW

    def announce(self) -> None:
        """What was not answered goes again."""
        super().announce()
        for number, data in self._unanswered:
            self._send_delivery(number, data)
        if self._closing:
            self._send({"type": "pipe_end", "error": ""})

    def write(self, data: bytes) -> None:
        """Whole lines; not more than `MAX_DELIVERY` bytes."""
        if not self.is_open:
            return
        self._last += 1
        self._unanswered.append((self._last, data))
        self._send_delivery(self._last, data)

    def _send_delivery(self, number: int, data: bytes) -> None:
        for offset in range(0, len(data), CHUNK):
            piece = data[offset : offset + CHUNK]
            more = offset + CHUNK < len(data)
            self._send({"type": "pipe_data", "number": number, "offset": offset, "data": piece, "more": more})

    def acknowledged(self, number: int) -> None:
        """Up to and with this one."""
        while self._unanswered and self._unanswered[0][0] <= number:
            self.after = self._unanswered.popleft()[0]
        if self._closing and not self._unanswered:
            super().ended("")
            self._on_end("")
        else:
            self._on_room()

    def finish(self) -> None:
        """That was all; it ends when everything is answered."""
        if not self.is_open or self._closing:
            return
        self._closing = True
        self._send({"type": "pipe_end", "error": ""})
        self.acknowledged(0)

    def ended(self, error: str) -> None:
        """The pipe is deleted: what nobody has taken is lost."""
        if self.is_open:
            super().ended(error)
            self._unanswered.clear()
            self._on_end(error)


class Pipes:
    """All channels of this agent. A number is never used again."""

    def __init__(self) -> None:
        self._channels: dict[int, Channel] = {}
        self._last = 0

    def add(self, channel: Channel) -> int:
        """The number of a new one."""
        self._last += 1
        self._channels[self._last] = channel
        return self._last

    def remove(self, number: int) -> None:
        """It has ended."""
        self._channels.pop(number, None)

    def announce(self) -> None:
        """In a new session."""
        for channel in list(self._channels.values()):
            channel.announce()

    def take(self, message: Message) -> None:
        """A message of the server about one of them."""
        channel = self._channels.get(message["channel"])
        if channel is None:
            return
        kind = message["type"]
        if kind == "pipe_data":
            channel.data(message)
        elif kind == "pipe_ack":
            channel.acknowledged(int(message["number"]))
        elif kind == "pipe_end":
            channel.ended(str(message.get("error", "")))


class Lines:
    """Cuts bytes into batches of whole lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The whole lines there are now; of a line that is too long, what there is of it, with a newline."""
        self._rest += data
        end = self._rest.rfind(b"\n") + 1
        if not end and len(self._rest) >= MAX_DELIVERY - CHUNK:
            return self.last()
        lines = bytes(self._rest[:end])
        del self._rest[:end]
        return lines

    def last(self) -> bytes:
        """What is left, as a line."""
        rest = bytes(self._rest) + b"\n" if self._rest else b""
        self._rest.clear()
        return rest


class PipeOutput:
    """Output of a program that goes into a pipe, in the place of a stream."""

    def __init__(self, agent: Agent, pipe: str, on_done: Callable[[], None], on_error: Callable[[str], None]) -> None:
        self._lines = Lines()
        self._on_done, self._on_error = on_done, on_error
        self._when_room: Callable[[], None] = lambda: None
        self._end = WriteEnd(agent, pipe, on_room=lambda: self._when_room(), on_end=self._over)

    @property
    def room(self) -> int:
        """Bytes that may be added; what goes into a pipe that is deleted goes nowhere."""
        return CHUNK if self._end.has_room or not self._end.is_open else 0

    @property
    def is_done(self) -> bool:
        """Everything has arrived, or nobody is there to take it."""
        return not self._end.is_open

    def when_room(self, call: Callable[[], None]) -> None:
        """Call when there is more of it."""
        self._when_room = call

    def add(self, data: bytes) -> None:
        """More output."""
        lines = self._lines.feed(data)
        if lines:
            self._end.write(lines)

    def end(self) -> None:
        """That was all."""
        last = self._lines.last()
        if last:
            self._end.write(last)
        self._end.finish()

    def _over(self, error: str) -> None:
        if error:
            self._on_error(error)
        self._when_room()
        self._on_done()


class PipeInput:
    """A pipe that is the standard input of a program."""

    def __init__(self, agent: Agent, pipe: str, fd: int, on_error: Callable[[str], None]) -> None:
        self._loop, self._fd = agent.loop, fd
        self._on_error = on_error
        self._rest = b""
        self._done: Callable[[], None] = lambda: None
        os.set_blocking(fd, False)
        self._end = ReadEnd(agent, pipe, self._deliver, self._over)

    def _deliver(self, data: bytes, done: Callable[[], None]) -> None:
        self._rest, self._done = data, done
        self._write()

    def _write(self) -> None:
        try:
            written = os.write(self._fd, self._rest) if self._rest else 0
        except BlockingIOError:
            written = 0
        except OSError:  # the program has closed its input, or ended
            self.close()
            return
        self._rest = self._rest[written:]
        if self._rest:
            self._loop.on_writable(self._fd, self._write)
        else:
            self._loop.on_writable(self._fd, None)
            self._done()

    def _over(self, error: str) -> None:
        if error:
            self._on_error(error)
        self.close()

    def close(self) -> None:
        """The program reads no more, or there is no more to read."""
        if self._fd < 0:
            return
        self._loop.forget(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._end.close()
