"""One client of the command socket: reads requests, runs them in order, writes replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from bus.errors import BusError
from bus.language.pipe_names import resolve
from bus.language.ranges import fold
from bus.library.pipes import Asker
from cli.answers.render import encode_json, render
from cli.answers.response import Group, failure
from cli.commands.host.stop import ConnectionEnds
from cli.server.pipe_mode import ClientStalledError, PipeConnection
from cli.server.stream import RequestStream, SocketRequest, StreamError
from cli.session.session import Session

READ_SIZE = 65_536
CLOSE_S = 5.0
"""How long a client may take to read the rest before the connection is cut."""
STOP_S = 0.5
"""The same when the server stops: `minibus down` does not wait for a client that never reads."""
MAX_UNSENT = 262_144
"""Bytes waiting for a slow reader before its command waits too."""


class CommandRunner(Protocol):
    """What a connection needs of the engine."""

    host: str

    @property
    def bus(self) -> Asker:
        """What pipes are read and written over."""
        ...

    def run_line(self, text: str, session: Session) -> AsyncGenerator[Group, None]:
        """Run a line."""
        ...

    async def suggest(self, text: str, session: Session) -> list[str]:
        """Complete a line."""
        ...


class Connection:
    """See the module."""

    def __init__(self, engine: CommandRunner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._engine = engine
        self._reader = reader
        self._writer = writer
        self._session = Session()
        self._stream = RequestStream()
        self._waiting: deque[SocketRequest] = deque()
        writer.transport.set_write_buffer_limits(high=MAX_UNSENT)

    async def serve(self) -> None:
        """Until the client leaves or stalls, sends what is no request, or a command ends the connection."""
        patience_s = CLOSE_S
        try:
            while (request := await self._next()) is not None:
                await self._answer(request)
        except (StreamError, ConnectionEnds, ClientStalledError, ConnectionError):
            pass
        except asyncio.CancelledError:
            patience_s = STOP_S
            raise
        finally:
            await self._close(patience_s)

    async def _close(self, patience_s: float) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(patience_s):
                await self._writer.wait_closed()
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()

    async def _next(self) -> SocketRequest | None:
        while not self._waiting:
            if self._stream.broken is not None:
                raise self._stream.broken
            data = await self._reader.read(READ_SIZE)
            if not data:
                return None
            self._waiting.extend(self._stream.feed(data))
        return self._waiting.popleft()

    async def _answer(self, request: SocketRequest) -> None:
        if request.plumb_pipe:
            await self._become_pipe(request.plumb_pipe)
            raise ConnectionEnds
        if bool(request.command) == bool(request.suggest):
            await self._send(failure(self._engine.host, "must specify either command or suggest"), more=False)
        elif request.suggest:
            lines = await self._engine.suggest(request.suggest, self._session)
            await self._write({"Resp": [], "Rendered": "", "More": False, "omitempty": lines, "Suggest": lines})
        else:
            await self._run(request.command)

    async def _become_pipe(self, name: str) -> None:
        """From now on the client reads and writes a pipe; if that cannot be, it gets one reply that says why."""
        try:
            namespace, pipe = resolve(name, self._session.namespace)
            ends = PipeConnection(self._engine.bus, namespace, pipe, self._reader, self._writer)
            await ends.serve(self._stream.rest())
        except BusError as error:
            await self._send(failure(self._engine.host, str(error)), more=False)

    async def _run(self, line: str) -> None:
        """Hold each group back until the next is known of: the last real one must be the one without `More`."""
        held: Group | None = None
        async with contextlib.aclosing(self._engine.run_line(line, self._session)) as groups:
            async for group in groups:
                group.output = group.output or self._session.output  # what a later line of a script sets is not for it
                if held is not None:
                    await self._send(held, more=True)
                held = group
                if group.more:
                    await self._send(group, more=True)
                    held = None
        await self._send(held or Group(), more=False)

    async def _send(self, group: Group, *, more: bool) -> None:
        responses = [response.to_json() for response in group.responses]
        rendered = render(group, self._session.output, fold)
        await self._write({"Resp": responses, "Rendered": rendered, "More": more})

    async def _write(self, reply: dict[str, Any]) -> None:
        """One value on one line; a client that has gone misses it, its command goes on."""
        if self._writer.is_closing():
            return
        self._writer.write(encode_json(reply) + b"\n")
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
