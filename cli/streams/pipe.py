"""`minibus pipe`: stdin into a pipe of a running minibus, and what flows through that pipe to stdout.

It attaches over the bus, by credit, so that nothing is lost on the way (see `bus.library.pipes`). Stdin and stdout
have a thread each: while one of them blocks, this program still tells the plumber that it lives.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from contextlib import AsyncExitStack
from typing import NamedTuple

from bus.errors import BusError
from bus.language.pipe_names import resolve
from bus.library.pipes import Asker, PipeReader, PipeWriter
from bus.messages.base import DEFAULT_NAMESPACE
from bus.pipe_messages import as_frames, as_lines
from cli.place import Place, connected, namespace_of
from cli.running import running
from cli.streams.blocking import BlockingCalls
from cli.streams.ending import run
from cli.streams.pipe_input import Frames, InputError, Lines
from cli.streams.presence import while_there
from cli.streams.standard_streams import print_all, receive, until_unread


class Ends(NamedTuple):
    """What of this program is connected to the pipe."""

    reads: bool = True
    writes: bool = True
    framed: bool = False
    """Messages on stdin and stdout are bytes after their length instead of lines."""


def pipe(place: Place, name: str, ends: Ends = Ends(), *, namespace: str = "") -> int:  # noqa: B008 - it is immutable
    """Connect stdin and stdout to the named pipe; returns the exit status.

    Ends with stdin, once the readers have everything, and with the pipe. Raises BrokenPipeError when it only reads, and
    nobody reads its output.
    """
    try:
        resolve(name, namespace or DEFAULT_NAMESPACE)  # before anything is connected: a name that cannot be
        run(_attend(place, namespace, name, ends), signal.SIGTERM)  # after which the plumber hears a goodbye
    except (BusError, InputError) as error:
        sys.stderr.write(f"minibus: {error}\n")
        return 1
    return 0


async def _attend(place: Place, namespace: str, name: str, ends: Ends) -> None:
    async with connected(place) as port:
        where, pipe_name = resolve(name, await namespace_of(place, port, namespace))
        work = _both if ends.reads and ends.writes else _read if ends.reads else _write
        await while_there(place, work(port, where, pipe_name, ends.framed))


async def _read(bus: Asker, namespace: str, name: str, framed: bool) -> None:
    async with (
        PipeReader(bus, name, namespace=namespace) as reader,
        running(_copy_out(reader, framed)) as outgoing,
        running(until_unread()) as unread,
    ):
        await asyncio.wait({outgoing, unread}, return_when=asyncio.FIRST_COMPLETED)
        if not (outgoing.done() and await outgoing):
            raise BrokenPipeError


async def _write(bus: Asker, namespace: str, name: str, framed: bool) -> None:
    async with PipeWriter(bus, name, namespace=namespace, framed=framed) as writer:
        await _copy_in(writer, framed)


async def _both(bus: Asker, namespace: str, name: str, framed: bool) -> None:
    async with PipeWriter(bus, name, namespace=namespace, framed=framed) as writer, AsyncExitStack() as reading:
        reader = await reading.enter_async_context(PipeReader(bus, name, namespace=namespace))
        async with (
            running(_copy_in(writer, framed)) as incoming,
            running(_copy_out(reader, framed)) as outgoing,
            running(until_unread()) as unread,
        ):
            await asyncio.wait({incoming, outgoing, unread}, return_when=asyncio.FIRST_COMPLETED)
            if incoming.done():
                await incoming
            elif not (outgoing.done() and await outgoing):
                await reading.aclose()
                await incoming


async def _copy_in(writer: PipeWriter, framed: bool) -> None:
    """Write stdin into the pipe; done when its readers have everything."""
    stdin = BlockingCalls("stdin")
    messages = Frames() if framed else Lines()
    try:
        while data := await stdin.call(functools.partial(receive, messages.wants)):
            if whole := messages.feed(data):
                await writer.write(whole)
        if whole := messages.end():
            await writer.write(whole)
    except InputError:
        await writer.drain()
        raise
    await writer.drain()


async def _copy_out(reader: PipeReader, framed: bool) -> bool:
    """Print what comes; False when nobody takes the output any more, True at the end of the pipe."""
    stdout = BlockingCalls("stdout")
    form = as_frames if framed else as_lines
    lost = 0
    while (delivery := await reader.next()) is not None:
        if reader.lost > lost:
            sys.stderr.write(f"minibus: {reader.lost - lost} messages were dropped, because this reader was behind\n")
            lost = reader.lost
        data = form(delivery.data, framed=delivery.framed)
        if not await stdout.call(functools.partial(print_all, data)):
            return False
    return True
