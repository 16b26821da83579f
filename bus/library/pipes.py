"""Reading and writing pipes without loss: the client's side of `bus.messages.pipe`.

Both sides ask again by themselves when the plumber or the broker was restarted meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

from bus.errors import BusError, OutcomeUnknownError
from bus.messages.base import DEFAULT_NAMESPACE, Message, Request
from bus.messages.pipe import Delivery, LeavePipe, PipeRead, ReadPipe, WritePipe
from bus.pipe_messages import payload, split

PLUMBER = "plumber"
READ_S = 10.0
"""How long one question for more waits."""
WRITE_S = 30.0
"""How long one write waits before it is asked for again."""
ALIVE_S = 1.0
"""Between signs of life of a reader that is busy."""
CONSUME_S = 0.005
"""What a consumer may take before the question for more goes out without its word that it is done."""
PAUSE_FIRST_S = 0.02
PAUSE_MAX_S = 0.5
AHEAD_BYTES = 4 * 1024 * 1024
"""What a reader fetches before it is asked for."""
WINDOW = 32
"""Writes under way."""
WINDOW_BYTES = 8 * 1024 * 1024
LEAVE_S = 2.0

R = TypeVar("R", bound=Message)


class Asker(Protocol):
    """What is needed of the bus: `bus.port.Port`."""

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError."""
        ...


class PipeReader:
    """A reader of one pipe: `async with PipeReader(port, "foo") as reader: async for delivery in reader: ...`.

    A delivery counts as done when the next is asked for. The loop ends when the pipe is deleted; it raises
    ConflictError if this reader fell silent for so long that it was cut off.
    """

    def __init__(
        self, bus: Asker, pipe: str, *, namespace: str = DEFAULT_NAMESPACE, name: str = "", after: int = 0
    ) -> None:
        """With the name of a reader that was here before, its work is taken up after delivery `after`."""
        self.name = name or secrets.token_hex(8)
        self.lost = 0
        """Messages that the pipe dropped for this reader."""
        self._told_lost = 0
        self._bus = bus
        self._pipe = pipe
        self._namespace = namespace
        self._arrived: deque[Delivery] = deque()
        self._arrived_bytes = 0
        self._after = after
        self._done = after
        self._told = after
        """What the plumber knows to be done."""
        self._ended = False
        self._failure: BusError | None = None
        self._more = asyncio.Event()
        """Something arrived, or nothing will any more."""
        self._taken = asyncio.Event()
        """Something was taken out: for the task that asks for more."""
        self._advanced = asyncio.Event()
        """The same, for the task that tells what is done."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Attach: what is written from now on will be read. Raises BusError."""
        await self._ask(max_bytes=0)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(work, name=f"pipe {self._pipe}") for work in (self._fetch(), self._keep_alive())
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _leave(self._bus, LeavePipe(pipe=self._pipe, reader=self.name), self._namespace)

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while (delivery := await self.next()) is not None:
            yield delivery

    async def next(self) -> Delivery | None:
        """The next batch, and what came before it is done; None at the end of the pipe. Raises BusError."""
        while not self._arrived:
            self._is_done(self._after)
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        delivery = self._arrived.popleft()
        self._arrived_bytes -= len(delivery.data)
        self._is_done(delivery.number - 1)
        return delivery

    async def messages(self) -> AsyncIterator[bytes]:
        """Each message by itself, a line without its newline; the last of a batch is done when the next is asked for.

        Raises BusError.
        """
        while (delivery := await self.next()) is not None:
            for message in messages_of(delivery):
                yield message

    def _is_done(self, number: int) -> None:
        self._done = number
        self._taken.set()
        self._advanced.set()

    async def _fetch(self) -> None:
        """Ask for more as long as there is room; a quick consumer's `done` travels with the next question."""
        try:
            while not self._ended:
                await self._until_taken()
                if self._arrived_bytes < AHEAD_BYTES:
                    self._arrive(await self._ask(max_bytes=AHEAD_BYTES - self._arrived_bytes))
        except BusError as error:
            self._failure = error
        self._more.set()

    async def _until_taken(self) -> None:
        if self._done < self._after:
            self._taken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONSUME_S):
                    while self._done < self._after:
                        await self._taken.wait()
                        self._taken.clear()

    async def _keep_alive(self) -> None:
        """Tell what is done while a question waits, and that this reader lives while it is busy."""
        while not self._ended and self._failure is None:
            self._advanced.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ALIVE_S):
                    await self._advanced.wait()
                    await asyncio.sleep(CONSUME_S)  # most often the next question has told by then
            if self._told < self._after:
                with contextlib.suppress(BusError):  # the other task meets it as well: who is cut off stays so
                    self._arrive(await self._ask(max_bytes=0))

    def _arrive(self, read: PipeRead) -> None:
        if read.lost > self._told_lost:
            self.lost += read.lost - self._told_lost
        self._told_lost = read.lost  # a plumber that was restarted counts from 0
        self._ended |= read.ended
        for delivery in read.deliveries:
            if delivery.number > self._after:
                self._after = delivery.number
                self._arrived.append(delivery)
                self._arrived_bytes += len(delivery.data)
        if read.deliveries or read.ended:
            self._more.set()

    async def _ask(self, *, max_bytes: int) -> PipeRead:
        pause_s = PAUSE_FIRST_S
        while True:
            # Made anew each time: a plumber that was restarted goes by the first one that it gets.
            done = self._done
            request = ReadPipe(pipe=self._pipe, reader=self.name, done=done, after=self._after, max_bytes=max_bytes)
            try:
                read = await self._bus.ask(PLUMBER, request, timeout_s=READ_S, namespace=self._namespace)
            except BusError as error:
                if not error.retryable and not isinstance(error, OutcomeUnknownError):
                    raise
            else:
                self._told = max(self._told, done)
                return read
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)


class PipeWriter:
    """A writer of one pipe: `async with PipeWriter(port, "foo") as writer: await writer.write(b"hello\\n")`.

    Leaving the block waits until the attached readers have everything.
    """

    def __init__(
        self,
        bus: Asker,
        pipe: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        framed: bool = False,
        name: str = "",
        after: int = 0,
        doubtful: int = 0,
        answered: Callable[[int], None] = lambda number: None,
    ) -> None:
        """With the name of a writer that was here before, its work is taken up after write `after`.

        Writes up to `doubtful` may have been taken then. `answered` is told the number of each that readers have.
        """
        self.name = name or secrets.token_hex(8)
        self._doubtful = doubtful
        self._answered = answered
        self._bus = bus
        self._pipe = pipe
        self._namespace = namespace
        self._framed = framed
        self._number = after
        self._open: dict[int, asyncio.Task[None]] = {}
        self._open_bytes = 0
        self._room = asyncio.Event()
        self._failure: BusError | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.drain()
        for task in self._open.values():
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        await _leave(self._bus, LeavePipe(pipe=self._pipe, writer=self.name), self._namespace)

    async def write(self, data: bytes) -> None:
        """Send whole messages; waits while too many are under way. Raises BusError if an earlier one was refused."""
        while self._open and (len(self._open) >= WINDOW or self._open_bytes + len(data) > WINDOW_BYTES):
            self._room.clear()
            await self._room.wait()
        if self._failure is not None:
            raise self._failure
        self._number += 1
        self._open_bytes += len(data)
        task = asyncio.get_running_loop().create_task(self._send(self._number, data), name=f"pipe {self._pipe}")
        self._open[self._number] = task

    async def drain(self) -> None:
        """Wait until the attached readers have everything; raises BusError if something was refused."""
        while self._open:
            self._room.clear()
            await self._room.wait()
        if self._failure is not None:
            raise self._failure

    async def _send(self, number: int, data: bytes) -> None:
        repeated = number <= self._doubtful
        pause_s = PAUSE_FIRST_S
        try:
            while True:
                request = WritePipe(
                    pipe=self._pipe,
                    writer=self.name,
                    number=number,
                    oldest=min(self._open),
                    data=data,
                    framed=self._framed,
                    repeated=repeated,
                )
                try:
                    await self._bus.ask(PLUMBER, request, timeout_s=WRITE_S, namespace=self._namespace)
                    self._answered(number)
                    return
                except BusError as error:
                    if not error.retryable and not isinstance(error, OutcomeUnknownError):
                        self._failure = self._failure or error
                        return
                    repeated = repeated or isinstance(error, OutcomeUnknownError)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
        finally:
            del self._open[number]
            self._open_bytes -= len(data)
            self._room.set()


def messages_of(delivery: Delivery) -> Iterator[bytes]:
    """The messages of a batch, lines without their newlines."""
    framed = delivery.framed
    return (payload(message, framed=framed) for message in split(delivery.data, framed=framed))


async def _leave(bus: Asker, request: LeavePipe, namespace: str) -> None:
    with contextlib.suppress(BusError):
        await bus.ask(PLUMBER, request, timeout_s=LEAVE_S, namespace=namespace)
