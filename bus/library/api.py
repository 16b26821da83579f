"""The client library: `async with bus.connect("/var/lib/minibus") as client: ...`.

It asks, runs command lines, follows events, reads and writes pipes. Requests that are lost on the way are asked again
under the same id, so that they are done once; subscriptions and pipes go on after a restart of minibus.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, overload

from bus import client as ports
from bus.errors import BusError, ClosedError, InvalidError, UnreachableError
from bus.library.events import Events
from bus.library.lines import Output, Row, output_of, typed
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.base import DEFAULT_NAMESPACE, Message, Request
from bus.messages.cli import RunLine
from bus.paths import DEFAULT_BASE
from bus.port import Port
from bus.retry import Retry

ASK_S = 30.0
RUN_S = 600.0
CONNECT_S = 5.0
ABSENT_S = 5.0
REMOTE_ABSENT_S = 10.0
"""How long nobody may be there before the asker is told: minibus, or the way to it, may be restarting."""
PAUSE_S = (0.02, 0.5)
CAPACITY = 10_000
TCP = "tcp://"

R = TypeVar("R", bound=Message)
T = TypeVar("T")


def connect(
    where: str | Path = "",
    *,
    key: str | Path | None = None,
    namespace: str = "",
    timeout_s: float = CONNECT_S,
) -> Client:
    """A client for `async with`: of the minibus on a base directory of this host, or with `key` of one elsewhere.

    The base directory is /var/lib/minibus if none is named. `key` is the file that `minibus key make` wrote; `where`
    then is `tcp://HOST:PORT`, or empty to go where the file says. What is done without saying in which namespace is
    done in `namespace`, otherwise in the only one that the key is for, or in `minimega`. The block raises
    UnreachableError if nobody answers, DeniedError if this user or this key may not connect, InvalidError if an
    argument makes no sense.
    """
    return Client(where, key=key, namespace=namespace, timeout_s=timeout_s)


class Client:
    """A connection to one minibus. Belongs to the event loop and to the process in which it was opened."""

    def __init__(
        self, where: str | Path, *, key: str | Path | None = None, namespace: str = "", timeout_s: float = CONNECT_S
    ) -> None:
        """See `connect`."""
        self.namespace = namespace or DEFAULT_NAMESPACE
        self._is_at_home = key is None or bool(namespace)
        self.where = str(where) or (DEFAULT_BASE if key is None else "")
        self._key = key
        self._timeout_s = timeout_s
        self._stack = AsyncExitStack()
        self._open_port: Port | None = None
        self._pid = 0
        self._following: set[Events] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect; for those who cannot use `async with`. Raises BusError, see `connect`."""
        if self._open_port is not None:
            return
        if self._key is not None:
            way = ports.connect_remote(self.where, self._key, timeout_s=self._timeout_s)
        elif self.where.startswith(TCP):
            raise InvalidError(f"{self.where} takes a key: give the file that `minibus key make` wrote")
        else:
            way = ports.connect(self.where, timeout_s=self._timeout_s, queues=False)
        port = await self._stack.enter_async_context(way)
        try:
            if not self._is_at_home:
                self.namespace = await ports.home(port, timeout_s=self._timeout_s)
        except BaseException:
            await self._stack.aclose()
            raise
        self._is_at_home = True
        self._open_port, self._pid = port, os.getpid()

    async def close(self) -> None:
        """Disconnect; what waits for an answer, an event or a pipe fails. Harmless when repeated."""
        self._open_port = None
        for events in tuple(self._following):
            events.close()
        self._following.clear()
        if self._pid in (0, os.getpid()):  # sockets that were made before a fork are their maker's
            await self._stack.aclose()

    @property
    def _port(self) -> Port:
        if self._open_port is None:
            raise ClosedError("this client is not connected: use it inside `async with bus.connect(...)`")
        if self._pid != os.getpid():
            raise ClosedError("this client was connected by another process: connect again after a fork")
        return self._open_port

    # --- requests

    async def ask(
        self, to: str, request: Request[R], *, namespace: str = "", timeout_s: float = ASK_S, msg_id: str = ""
    ) -> R:
        """Send a request to an actor, `vm` or `vm@host`, and wait for its reply, whose type the request declares.

        While nobody is there it is asked again, for 5 seconds, or 10 on another host; when the one who was asked went
        away, as long as there is time. Raises BusError: UnreachableError means that nothing was done,
        OutcomeUnknownError that it may have been, and asking again with the same `msg_id` is safe then. Cancelling
        stops the waiting, not what was asked for.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        msg_id = msg_id or secrets.token_hex(8)
        retry = Retry(deadline_s, absent_s=ABSENT_S if self._key is None else REMOTE_ABSENT_S, pause_s=PAUSE_S)
        while True:
            port = self._port
            left_s = max(deadline_s - loop.time(), 0.001)
            try:
                return await port.ask(
                    to, request, timeout_s=left_s, namespace=namespace or self.namespace, msg_id=msg_id
                )
            except BusError as error:
                pause_s = self._pause_s(retry, error, loop.time())
            await asyncio.sleep(pause_s)

    async def run(self, line: str, *, namespace: str = "", timeout_s: float = RUN_S, msg_id: str = "") -> Output:
        """Run a command line as it would be typed; what failed is in the answer. Raises BusError as `ask` does.

        Each line has a session of its own: what one sets, `.csv true` or `namespace x`, is gone with it.
        """
        reply = await self.ask("cli", RunLine(line=line), namespace=namespace, timeout_s=timeout_s, msg_id=msg_id)
        return output_of(reply)

    @overload
    async def rows(self, line: str, *, namespace: str = "", timeout_s: float = RUN_S) -> list[Row]: ...

    @overload
    async def rows(self, line: str, of: type[T], *, namespace: str = "", timeout_s: float = RUN_S) -> list[T]: ...

    async def rows(
        self, line: str, of: type[T] | None = None, *, namespace: str = "", timeout_s: float = RUN_S
    ) -> list[Row] | list[T]:
        """Run a command line and give its table; raises CommandFailed if it failed on any host, else as `run`.

        With `of`, a dataclass say, each row is one of these instead of a dict of texts: see `bus.library.lines.typed`.
        """
        rows = (await self.run(line, namespace=namespace, timeout_s=timeout_s)).rows()
        return rows if of is None else typed(rows, of)

    def _pause_s(self, retry: Retry, error: BusError, now_s: float) -> float:
        if self._open_port is None:
            raise ClosedError("this client was closed; the outcome of what it asked is unknown") from error
        try:
            return retry.failed(error, now_s)
        except UnreachableError as final:
            raise self._why_unreachable(final) from error

    def _why_unreachable(self, error: UnreachableError) -> BusError:
        """Whether minibus is gone or only a part of it."""
        if error.origin or self._key is not None:
            return error
        return UnreachableError(ports.not_running(Path(self.where)))

    # --- events and pipes

    def subscribe(self, *prefixes: str, capacity: int = CAPACITY) -> Events:
        """Events whose topic begins with one of the prefixes, `vm/exp1/` say, for `async with`.

        From the start of the block nothing is missed unless this program is so slow that `capacity` of them wait; then
        it is told how many were. All events there are have the prefix `""`.
        """
        return Events(self._port.subscriptions, prefixes or ("",), capacity, self._following)

    def read_pipe(self, pipe: str, *, namespace: str = "") -> PipeReader:
        """A reader of a pipe for `async with`, which loses nothing: writers wait for it."""
        return PipeReader(_Direct(self), pipe, namespace=namespace or self.namespace)

    def write_pipe(self, pipe: str, *, namespace: str = "", framed: bool = False) -> PipeWriter:
        """A writer of a pipe for `async with`; at the end of the block the attached readers have everything.

        Messages are lines, or with `framed` any bytes, each one after its length (`bus.pipe_messages.frame`).
        """
        return PipeWriter(_Direct(self), pipe, namespace=namespace or self.namespace, framed=framed)


class _Direct:
    """Asks once: those who use it repeat by rules of their own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError, and ClosedError instead of what may pass once the client is closed."""
        port = self._client._port
        try:
            return await port.ask(to, request, timeout_s=timeout_s, namespace=namespace)
        except BusError as error:
            if self._client._open_port is None:
                raise ClosedError("this client was closed; the outcome of what it asked is unknown") from error
            raise
