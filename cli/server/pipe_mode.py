"""A connection that has become one end of a pipe: JSON strings both ways, one for each message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import AsyncExitStack

from bus.library.pipes import Asker, PipeReader, PipeWriter
from bus.messages.pipe import Delivery
from bus.pipe_messages import payload, split
from cli.running import running
from cli.server.string_stream import StringStream

READ_SIZE = 65_536
STALLED_S = 5.0
"""How long a client may take nothing while messages wait for it, before it is parted with."""

_encode = json.JSONEncoder(ensure_ascii=False).encode


class ClientStalledError(Exception):
    """The client has stopped reading."""


def strings_of(delivery: Delivery) -> bytes:
    """Each message as a JSON string on a line of its own; what is not UTF-8 becomes U+FFFD."""
    if delivery.framed:
        frames = split(delivery.data, framed=True)
        messages = [payload(frame, framed=True).decode("utf-8", "replace") for frame in frames]
    else:
        messages = [f"{line}\n" for line in delivery.data.decode("utf-8", "replace").split("\n")[:-1]]
    return "".join(f"{_encode(message)}\n" for message in messages).encode()


def lines_of(strings: Iterable[str]) -> bytes:
    """The messages that a client wrote; an empty string is none, a missing newline is added."""
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in strings if text).encode()


class PipeConnection:
    """Both ends of a client's connection, and the pipe it is attached to."""

    def __init__(
        self, bus: Asker, namespace: str, pipe: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._from_pipe = PipeReader(bus, pipe, namespace=namespace)
        self._to_pipe = PipeWriter(bus, pipe, namespace=namespace)

    async def serve(self, first: bytes) -> None:
        """Until the client leaves or the pipe is deleted; `first` is what the client has sent already.

        What it has written is taken, even if it does not wait to see it arrive. Raises BusError, StreamError or
        ClientStalledError.
        """
        async with self._to_pipe, AsyncExitStack() as reading:
            await reading.enter_async_context(self._from_pipe)
            async with running(self._take(first)) as incoming, running(self._give()) as outgoing:
                await asyncio.wait({incoming, outgoing}, return_when=asyncio.FIRST_COMPLETED)
                if incoming.done():
                    await incoming
                elif not await outgoing:
                    await reading.aclose()
                    await incoming

    async def _take(self, data: bytes) -> None:
        """What the client writes, until it leaves and the readers have everything."""
        stream = StringStream()
        while True:
            if lines := lines_of(stream.feed(data)):
                await self._to_pipe.write(lines)
            try:
                data = await self._reader.read(READ_SIZE)
            except ConnectionError:
                data = b""
            if not data:
                await self._to_pipe.drain()
                return

    async def _give(self) -> bool:
        """What the pipe has; True at its end, False when the client has gone."""
        while (delivery := await self._from_pipe.next()) is not None:
            self._writer.write(strings_of(delivery))
            try:
                await self._until_taken()
            except ConnectionError:
                return False
        return True

    async def _until_taken(self) -> None:
        """Wait for a client that is slow, not for one that takes nothing."""
        transport = self._writer.transport
        while True:
            before = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(STALLED_S):
                    await self._writer.drain()
                return
            except TimeoutError:
                if transport.get_write_buffer_size() >= before:
                    raise ClientStalledError from None
