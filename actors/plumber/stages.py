"""The ends of what flows between two segments of a pipeline: a pipe in this process, or the pipe of a program."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import groupby

from actors.plumber.flow import FullError
from actors.plumber.pipe import Pipe
from actors.plumber.pipeline import Lines, PipeStage
from actors.plumber.pipes import Pipes
from bus.errors import OverloadedError
from bus.messages.pipe import Delivery, LeavePipe, ReadPipe
from bus.pipe_messages import Content, content_of, payload, split
from shims.programs.program_chain import ReadEnd, WriteEnd

READ_S = 3600.0
"""How long one question to a pipe waits."""
ROOM_S = 0.01
"""Between two attempts to write into a pipe that has no room."""
SLICE_S = 0.005
"""How long one link may work without having waited for anything."""
PAUSE_S = 0.005
"""What it then leaves to others: messages that run in circles must not take the whole processor."""
WAITED_S = 0.0005
"""From then on it counts as having waited."""

OpenPipe = Callable[[PipeStage], Pipe]
"""The pipe of a stage, made if need be; raises BusError."""


class PipeSource:
    """Reads a pipe by the same credit as a reader from outside, but may take its time, as its program does."""

    def __init__(self, pipes: Pipes, pipe: Pipe, reader: str) -> None:
        """Attach; raises OverloadedError."""
        self._pipes = pipes
        self._pipe = pipe
        self._reader = reader
        self._arrived = 0
        """The last delivery."""
        self._finishing = False
        now_s = time.monotonic()
        try:
            effects = pipe.flow.read(reader, done=0, after=0, max_bytes=0, ticket=0, now_s=now_s, inside=True)
        except FullError:
            raise OverloadedError(f"pipe {pipe.name} has as many readers as it may have") from None
        pipes.carry_out(pipe, effects or ())

    async def next(self) -> Sequence[Content] | None:
        """More messages, and those before are dealt with; None at the end. Raises BusError."""
        loop = asyncio.get_running_loop()
        while True:
            number = self._arrived
            request = ReadPipe(pipe=self._pipe.name, reader=self._reader, done=number, after=number)
            deadline = loop.time() + (0.0 if self._finishing else READ_S)
            read = await self._pipes.read(self._pipe, request, time.monotonic(), deadline, inside=True)
            if read.deliveries:
                self._arrived = read.deliveries[-1].number
                return merged(read.deliveries)
            if read.ended or self._finishing:
                return None

    def finish(self) -> None:
        """What is there now is the last."""
        self._finishing = True
        reader = self._pipe.flow.readers.get(self._reader)
        if reader is not None and reader.ticket:
            self.close()  # it waits, so there is nothing; this answers it

    def close(self) -> None:
        """Leave the pipe; harmless when repeated."""
        self._pipes.leave(self._pipe, LeavePipe(pipe=self._pipe.name, reader=self._reader))


class ProgramSource:
    """Reads what a program writes, line by line."""

    def __init__(self, end: ReadEnd) -> None:
        self._end = end
        self._lines = Lines()
        self._ended = False

    async def next(self) -> Sequence[Content] | None:
        """More lines, None after the last one, whole or not; raises MessageError if one is too long."""
        while not self._ended:
            data = await self._end.read()
            self._ended = not data
            whole = self._lines.take(data) if data else self._lines.rest()
            if whole:
                return (content_of(whole),)
        return None

    def close(self) -> None:
        """The program writes for nobody from now on."""
        self._end.close()


class PipeSink:
    """Writes into a pipe and waits as long as it has no room, or its program has not come to it."""

    def __init__(self, pipes: Pipes, open_pipe: OpenPipe, stage: PipeStage) -> None:
        """Open it; raises BusError."""
        self._pipes = pipes
        self._open = open_pipe
        self._stage = stage
        self._pipe = open_pipe(stage)
        self._pipe.feeders += 1
        self._closed = False

    async def take(self, contents: Sequence[Content]) -> None:
        """Write; on return the pipe's readers have it in their queues."""
        for content in contents:
            while not self._put(content):
                await self._pipe.until_taken()
                await asyncio.sleep(ROOM_S)
            await self._pipe.until_taken()

    def _put(self, content: Content) -> bool:
        try:
            pipe = self._open(self._stage)
            if pipe is not self._pipe:  # the one before was deleted
                self._pipe.feeders -= 1
                self._pipe = pipe
                pipe.feeders += 1
        except OverloadedError:
            return False
        if not pipe.has_room(len(content.data)):
            return False
        self._pipes.put(pipe, content)
        return True

    def close(self) -> None:
        """Write no more; harmless when repeated."""
        if not self._closed:
            self._pipe.feeders -= 1
            self._closed = True


class ProgramSink:
    """Writes to what a program reads. Of framed messages it gets the bytes alone."""

    def __init__(self, end: WriteEnd) -> None:
        self._end = end

    async def take(self, contents: Sequence[Content]) -> None:
        """Write, waiting for the program; raises BrokenPipeError if it does not read any more."""
        for content in contents:
            data = content.data
            if content.framed:
                data = b"".join(payload(message, framed=True) for message in split(data, framed=True))
            await self._end.write(data)

    def close(self) -> None:
        """The program comes to the end of its input."""
        self._end.close()


Source = PipeSource | ProgramSource
Sink = PipeSink | ProgramSink


async def move(source: Source, sink: Sink) -> None:
    """Move everything. Raises BrokenPipeError, MessageError or BusError."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    while True:
        begun = loop.time()
        contents = await source.next()
        if contents is None:
            return
        await sink.take(contents)
        now = loop.time()
        if now - begun > WAITED_S:
            since = now
        if now - since > SLICE_S:
            await asyncio.sleep(PAUSE_S)
            since = loop.time()
        else:
            await asyncio.sleep(0)


def merged(deliveries: Sequence[Delivery]) -> list[Content]:
    """Deliveries of the same kind taken together: messages that were written one by one soon travel in company."""
    found = []
    for (framed, repeated), group in groupby(deliveries, lambda delivery: (delivery.framed, delivery.repeated)):
        some = list(group)
        data = b"".join(delivery.data for delivery in some)
        found.append(Content(data, sum(delivery.count for delivery in some), framed, repeated))
    return found
