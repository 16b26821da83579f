"""The client library without asyncio, for scripts and the prompt: `with bus.connect_sync() as client: ...`.

A thread of its own runs the loop of a `bus.library.api.Client`; each method waits for what that one does. Several
threads may use it at once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from bus.errors import ClosedError
from bus.library.api import ASK_S, CAPACITY, CONNECT_S, RUN_S, Client
from bus.library.events import Events, Lost, Received
from bus.library.lines import Output, Row, typed
from bus.library.pipes import PipeReader, PipeWriter, messages_of
from bus.messages.base import Message, Request

T = TypeVar("T")
R = TypeVar("R", bound=Message)
Call = Callable[[Coroutine[Any, Any, Any]], Any]


def connect_sync(
    where: str | Path = "",
    *,
    key: str | Path | None = None,
    namespace: str = "",
    timeout_s: float = CONNECT_S,
) -> BlockingClient:
    """As `bus.connect`, for programs without asyncio. It is connected when this returns; `close` it, or use `with`.

    Raises UnreachableError, DeniedError, InvalidError.
    """
    return BlockingClient(Client(where, key=key, namespace=namespace, timeout_s=timeout_s))


class BlockingClient:
    """A connection to one minibus, see `bus.library.api.Client`, whose methods these are."""

    def __init__(self, client: Client) -> None:
        """Connect; raises BusError."""
        self._client = client
        self._loop = asyncio.new_event_loop()
        # A daemon: who forgets to close at the prompt must be able to leave it.
        self._thread = threading.Thread(target=self._run, name="minibus client", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._thread.start()
        try:
            self._call(client.open())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and end the thread; calls of other threads fail. Harmless when repeated."""
        if self._pid != os.getpid():
            return  # the thread, and the sockets, are of the process that this one was forked from
        with self._lock:
            if self._closed:
                return
            self._closed = True  # whatever was begun before this is among the tasks that `_end` sees
            ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            ending.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _end(self) -> None:
        await self._client.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises; interrupted, it is cancelled."""
        if self._pid != os.getpid():
            work.close()
            raise ClosedError("this client was connected by another process: connect again after a fork")
        with self._lock:
            if self._closed:
                work.close()
                raise ClosedError("this client was closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClosedError("this client was closed while it waited; the outcome is unknown") from None
        except BaseException:
            future.cancel()
            raise

    def ask(
        self, to: str, request: Request[R], *, namespace: str = "", timeout_s: float = ASK_S, msg_id: str = ""
    ) -> R:
        """As `bus.library.api.Client.ask`."""
        return self._call(self._client.ask(to, request, namespace=namespace, timeout_s=timeout_s, msg_id=msg_id))

    def run(self, line: str, *, namespace: str = "", timeout_s: float = RUN_S, msg_id: str = "") -> Output:
        """As `bus.library.api.Client.run`."""
        return self._call(self._client.run(line, namespace=namespace, timeout_s=timeout_s, msg_id=msg_id))

    @overload
    def rows(self, line: str, *, namespace: str = "", timeout_s: float = RUN_S) -> list[Row]: ...

    @overload
    def rows(self, line: str, of: type[T], *, namespace: str = "", timeout_s: float = RUN_S) -> list[T]: ...

    def rows(
        self, line: str, of: type[T] | None = None, *, namespace: str = "", timeout_s: float = RUN_S
    ) -> list[Row] | list[T]:
        """As `bus.library.api.Client.rows`."""
        rows = self._call(self._client.rows(line, namespace=namespace, timeout_s=timeout_s))
        return rows if of is None else typed(rows, of)

    @contextlib.contextmanager
    def subscribe(self, *prefixes: str, capacity: int = CAPACITY) -> Iterator[BlockingEvents]:
        """As `bus.library.api.Client.subscribe`; iterate, or ask for the `next` one with patience."""
        events = self._call(_made(lambda: self._client.subscribe(*prefixes, capacity=capacity)))
        with self._entered(events):
            yield BlockingEvents(events, self._call)

    @contextlib.contextmanager
    def read_pipe(self, pipe: str, *, namespace: str = "") -> Iterator[BlockingReader]:
        """As `bus.library.api.Client.read_pipe`; iterate over the messages."""
        reader = self._client.read_pipe(pipe, namespace=namespace)
        with self._entered(reader):
            yield BlockingReader(reader, self._call)

    @contextlib.contextmanager
    def write_pipe(self, pipe: str, *, namespace: str = "", framed: bool = False) -> Iterator[BlockingWriter]:
        """As `bus.library.api.Client.write_pipe`."""
        writer = self._client.write_pipe(pipe, namespace=namespace, framed=framed)
        with self._entered(writer):
            yield BlockingWriter(writer, self._call)

    @contextlib.contextmanager
    def _entered(self, thing: Events | PipeReader | PipeWriter) -> Iterator[None]:
        self._call(thing.__aenter__())
        try:
            yield
        except BaseException as error:
            self._leave(thing, error)
            raise
        else:
            self._leave(thing, None)

    def _leave(self, thing: Events | PipeReader | PipeWriter, error: BaseException | None) -> None:
        if not self._closed and self._pid == os.getpid():
            self._call(thing.__aexit__(type(error) if error else None, error, None))


async def _made(make: Callable[[], T]) -> T:
    """Something that must be made where the loop runs."""
    return make()


class BlockingEvents:
    """Events as they come, see `bus.library.events.Events`."""

    def __init__(self, events: Events, call: Call) -> None:
        self._events = events
        self._call = call

    @property
    def lost(self) -> int:
        """Events that are known to have been missed, as far as they were told."""
        return self._events.lost

    def next(self, timeout_s: float | None = None) -> Received | Lost | None:
        """The next event or loss; None if none comes in time. Raises ClosedError."""
        item: Received | Lost | None = self._call(self._events.next(timeout_s))
        return item

    def __iter__(self) -> Iterator[Received | Lost]:
        while (item := self.next()) is not None:
            yield item


class BlockingReader:
    """What comes out of a pipe, message by message, see `bus.library.pipes.PipeReader`."""

    def __init__(self, reader: PipeReader, call: Call) -> None:
        self._reader = reader
        self._arrived: Iterator[bytes] = iter(())
        self._call = call

    @property
    def lost(self) -> int:
        """Messages that the pipe dropped for this reader."""
        return self._reader.lost

    def __iter__(self) -> Iterator[bytes]:
        while (message := self.read()) is not None:
            yield message

    def read(self, timeout_s: float | None = None) -> bytes | None:
        """The next message, a line without its newline; None at the end of the pipe. Raises TimeoutError, BusError."""
        while (message := next(self._arrived, None)) is None:
            delivery = self._call(asyncio.wait_for(self._reader.next(), timeout_s))
            if delivery is None:
                return None
            self._arrived = messages_of(delivery)
        return message


class BlockingWriter:
    """What goes into a pipe, see `bus.library.pipes.PipeWriter`."""

    def __init__(self, writer: PipeWriter, call: Call) -> None:
        self._writer = writer
        self._call = call

    def write(self, data: bytes) -> None:
        """Send whole messages; waits while too many are under way. Raises BusError if an earlier one was refused."""
        self._call(self._writer.write(data))

    def drain(self) -> None:
        """Wait until the attached readers have everything; raises BusError if something was refused."""
        self._call(self._writer.drain())
