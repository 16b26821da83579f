"""Ends of pipes in guests: each is a reader or a writer of the plumber's, under a name that outlives sessions.

The numbers of deliveries are those of the pipe, so whoever comes back, the agent or this actor, says where it was and
goes on there. A guest that falls silent holds a pipe up for half a minute; then it is cut off and told so.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from actors.cc.protocol import frames
from actors.cc.server import Server
from actors.cc.table import Key
from bus.errors import BusError
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.pipe import Delivery
from bus.pipe_messages import as_lines
from shims.agent.line.wire import CHUNK, WireError

if TYPE_CHECKING:
    from actors.cc.sessions.session import Session

MAX_CHANNELS: Final = 64
OPENS: Final = 100
"""That one guest may open in a second."""
MAX_UNDER_WAY: Final = 16
MAX_WRITE: Final = 1024 * 1024
MAX_HELD_BYTES: Final = 16 * 1024 * 1024
"""That one guest has written and no reader has yet."""
PATIENCE_S: Final = 30.0
RETURN_S: Final = 60.0
"""After a restart of this actor, for agents that have pipes from before."""
SILENT = "it was silent for too long, and others wait for this pipe"

ChannelKey = tuple[Key, str, int]
"""Guest, start of the agent, channel."""


class End(ABC):
    """One end; it stays for a while when the line breaks."""

    def __init__(self, server: Server, ends: Ends, where: ChannelKey, pipe: str) -> None:
        self.server = server
        self.ends = ends
        self.where = where
        self.pipe = pipe
        self.session: Session | None = None
        self.waited_s: float | None = None
        """Since when something waits for the guest, or it is away."""
        self.held = 0
        self.task: asyncio.Task[None] | None = None
        digest = hashlib.sha256(repr((where[0], where[1], where[2])).encode()).hexdigest()
        self.name = f"cc-{digest[:40]}"

    @property
    def namespace(self) -> str:
        """The pipe's."""
        return self.where[0][0]

    def begin(self) -> None:
        """Run beside the loop."""
        self.server.spawn(self._guarded(), name=f"pipe {self.pipe[:80]}")

    async def _guarded(self) -> None:
        if not self.ends.has(self):
            return  # it was over before it began
        self.task = asyncio.current_task()
        try:
            await self.work()
        except BusError as error:
            self.finish(str(error))
        else:
            self.finish("")

    @abstractmethod
    async def work(self) -> None:
        """Until the pipe has ended."""

    def finish(self, error: str) -> None:
        """Tell the guest that it is over, and forget it."""
        if self.ends.forget(self):
            self.send(frames.PipeEnd(channel=self.where[2], error=error[:4000]))
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def send(self, frame: frames.Frame) -> None:
        """To the guest, if it is there."""
        if self.session is not None:
            self.session.send(frame)

    def attach(self, session: Session, after: int) -> None:
        """The guest is there, for the first time or again."""
        self.session = session
        self.waited_s = None


class ReadingEnd(End):
    """The guest reads."""

    def __init__(self, server: Server, ends: Ends, where: ChannelKey, pipe: str, after: int) -> None:
        super().__init__(server, ends, where, pipe)
        self._after = after
        self._under_way: Delivery | None = None
        self._data = b""
        self._offset = -1
        """Where the next piece of it begins; -1 if all of it was sent."""
        self._acked = asyncio.Event()

    async def work(self) -> None:
        """One delivery at a time: what is asked for next says that the one before is done."""
        reader = PipeReader(self.server.port, self.pipe, namespace=self.namespace, name=self.name, after=self._after)
        async with reader:
            while (delivery := await reader.next()) is not None:
                self._under_way = delivery
                self._data = as_lines(delivery.data, framed=delivery.framed)
                self._offset = 0
                self._acked.clear()
                self.waited_s = self.waited_s or asyncio.get_running_loop().time()
                self.pump()
                await self._acked.wait()
                self._under_way, self.waited_s = None, None

    def pump(self) -> None:
        """Send the next pieces, as long as the guest reads."""
        while self._under_way is not None and self._offset >= 0 and self.session is not None and self.session.has_room:
            offset, end = self._offset, self._offset + CHUNK
            more = end < len(self._data)
            self._offset = end if more else -1
            piece = frames.PipeData(
                channel=self.where[2],
                number=self._under_way.number,
                offset=offset,
                data=self._data[offset:end],
                more=more,
            )
            self.send(piece)

    def attach(self, session: Session, after: int) -> None:
        """Again: what it has not written comes again."""
        super().attach(session, after)
        if self._under_way is not None:
            if after >= self._under_way.number:
                self._acked.set()
            else:
                self._offset = 0
                self.pump()

    def acked(self, number: int) -> None:
        """The guest's program has it."""
        if self._under_way is not None and number >= self._under_way.number:
            self._acked.set()


class WritingEnd(End):
    """The guest writes."""

    def __init__(self, server: Server, ends: Ends, where: ChannelKey, pipe: str, after: int, *, resumed: bool) -> None:
        super().__init__(server, ends, where, pipe)
        self._last = after
        """The last that is whole."""
        self._answered = after
        self._doubtful = after + MAX_UNDER_WAY if resumed else 0
        self._after = after
        self._pieces = bytearray()
        self._sizes: dict[int, int] = {}
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def work(self) -> None:
        """Until the guest has no more."""
        writer = PipeWriter(
            self.server.port,
            self.pipe,
            namespace=self.namespace,
            name=self.name,
            after=self._after,
            doubtful=self._doubtful,
            answered=self._on_answer,
        )
        async with writer:
            while (data := await self._queue.get()) is not None:
                await writer.write(data)
        self.session = None  # who said that there is no more need not be told

    def _on_answer(self, number: int) -> None:
        self._answered = max(self._answered, number)
        self.held -= self._sizes.pop(number, 0)
        self.send(frames.PipeAck(channel=self.where[2], number=number))

    def attach(self, session: Session, after: int) -> None:
        """Again: what was answered meanwhile is said again."""
        super().attach(session, after)
        self._pieces.clear()
        if self._answered > after:
            self.send(frames.PipeAck(channel=self.where[2], number=self._answered))

    def written(self, frame: frames.PipeData) -> None:
        """A piece; raises WireError."""
        if frame.number <= self._last:
            if frame.number <= self._answered and not frame.more:
                self.send(frames.PipeAck(channel=frame.channel, number=frame.number))
            return  # or it is under way
        if frame.number != self._last + 1 or frame.offset != len(self._pieces):
            raise WireError("a delivery of a pipe is missing")
        if len(self._pieces) + len(frame.data) > MAX_WRITE or len(self._sizes) >= MAX_UNDER_WAY:
            raise WireError("too much is written into a pipe at once")
        self._pieces += frame.data
        if frame.more:
            return
        self._last += 1
        data = bytes(self._pieces)
        self._pieces.clear()
        self._sizes[self._last] = len(data)
        self.held += len(data)
        self._queue.put_nowait(data)

    def no_more(self) -> None:
        """The guest's program has ended; what it wrote is on its way."""
        self._queue.put_nowait(None)


class Ends:
    """All ends of this host's guests, those included whose guest is just coming back."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ends: dict[ChannelKey, End] = {}
        self._of: dict[tuple[Key, str], dict[int, End]] = {}
        """Those of each agent, by channel: it is asked with each frame, and a host has thousands."""
        self._started_s = asyncio.get_running_loop().time()
        self.returning: set[tuple[Key, str]] = set()
        """Agents that were connected when the process before this one ended."""

    def open(self, session: Session, frame: frames.OpenPipe) -> End:
        """A new end, or one that is there already; raises WireError."""
        where = (session.key, session.agent, frame.channel)
        end = self._ends.get(where)
        if end is None:
            if len(self.of(session)) >= MAX_CHANNELS:
                raise WireError("too many pipes are open")
            if frame.writes:
                resumed = (session.key, session.agent) in self.returning
                end = WritingEnd(self._server, self, where, frame.pipe, frame.after, resumed=resumed)
            else:
                end = ReadingEnd(self._server, self, where, frame.pipe, frame.after)
            self._add(end)
            end.begin()
        end.attach(session, frame.after)
        return end

    def _add(self, end: End) -> None:
        self._ends[end.where] = end
        self._of.setdefault(end.where[:2], {})[end.where[2]] = end

    def get(self, session: Session, channel: int) -> End | None:
        """One end."""
        return self._ends.get((session.key, session.agent, channel))

    def of(self, session: Session) -> list[End]:
        """Those of one agent."""
        return list(self._of.get((session.key, session.agent), {}).values())

    def has(self, end: End) -> bool:
        """Whether it is not over."""
        return self._ends.get(end.where) is end

    def keep_only(self, key: Key, agent: str = "") -> None:
        """Of a guest that has ended nothing is left, and of one with a new agent nothing of the old one."""
        for end in tuple(self._ends.values()):
            if end.where[0] == key and end.where[1] != agent:
                end.session = None
                end.finish("")

    def forget(self, end: End) -> bool:
        """It is over; says whether it was there."""
        if not self.has(end):
            return False
        del self._ends[end.where]
        own = self._of[end.where[:2]]
        del own[end.where[2]]
        if not own:
            del self._of[end.where[:2]]
        return True

    def detach(self, session: Session, now_s: float) -> None:
        """The line is gone; the agent may come back."""
        for end in self._ends.values():
            if end.session is session:
                end.session = None
                end.waited_s = now_s

    def tick(self, now_s: float) -> None:
        """Once a second: nobody waits for ever for a guest that is away or silent."""
        if now_s - self._started_s > RETURN_S:
            self.returning.clear()
        for end in tuple(self._ends.values()):
            if end.waited_s is None or now_s - end.waited_s < PATIENCE_S:
                continue
            if end.session is None or now_s - end.session.line.heard_s >= PATIENCE_S:
                end.finish(SILENT)


class GuestPipes:
    """The ends of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ends = session.server.pipe_ends

    def take(self, frame: frames.OpenPipe | frames.PipeData | frames.PipeAck | frames.PipeEnd) -> None:
        """A frame about a pipe; raises WireError."""
        if isinstance(frame, frames.OpenPipe):
            if self._session.may("pipe", OPENS):
                self._ends.open(self._session, frame)
            else:
                sentence = "too many pipes are opened at a time: try again"
                self._session.send(frames.PipeEnd(channel=frame.channel, error=sentence))
            return
        end = self._ends.get(self._session, frame.channel)
        match frame, end:
            case frames.PipeData(), WritingEnd():
                end.written(frame)
                if sum(other.held for other in self._ends.of(self._session)) > MAX_HELD_BYTES:
                    raise WireError("too much is written into pipes at once")
            case frames.PipeAck(number=number), ReadingEnd():
                end.acked(number)
            case frames.PipeEnd(), WritingEnd():
                end.no_more()
            case frames.PipeEnd(), ReadingEnd():
                end.session = None  # it knows already
                end.finish("")
            case _:
                pass  # of an end that is over already

    def writable(self) -> None:
        """The guest has caught up."""
        for end in self._ends.of(self._session):
            if isinstance(end, ReadingEnd):
                end.pump()

    def close(self) -> None:
        """The session is over."""
        self._ends.detach(self._session, self._session.line.loop.time())
