"""A via: a program that makes of each message what one reader gets. One message at a time, its readers side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

from bus.pipe_messages import Content, content_of, frame, payload, split
from shims.programs import process

TIMEOUT_S = 5.0
"""For one message and one reader."""
MAX_OUTPUT = 1_048_576
AT_ONCE = 16
"""Programs of one message that run side by side."""
ENOUGH_BYTES = 4 * 1024 * 1024
"""What was made is passed on when it is so much, though not all of a write is done."""
EVERYBODY = ""
"""Stands for the subscribers, if nobody is attached."""

Parts = list[tuple[str, Content]]
"""What each reader gets."""


class Program(NamedTuple):
    """What makes a message."""

    argv: Callable[[], Sequence[str]]
    """Empty: a message is passed on as it is. Asked for each message, as it may be changed while many wait."""
    environment: Mapping[str, str]
    """Laid over the plumber's."""


async def transform(
    content: Content,
    recipients: Callable[[], Sequence[str]],
    program: Program,
    on_error: Callable[[str, str], None],
) -> AsyncIterator[Parts]:
    """What each reader gets of some messages, all at the end or in several pieces if it is much.

    `recipients` says who is to get the next message, `on_error` takes a reader that gets nothing of one, and why.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    made: dict[str, list[bytes]] = {}
    size = 0

    async def for_reader(reader: str, message: bytes, argv: Sequence[str]) -> None:
        nonlocal size
        async with slots:
            given = payload(message, framed=True) if content.framed else message
            result = await _run(argv, program.environment, given)
        if isinstance(result, str):
            on_error(reader, result)
            return
        if content.framed:
            result = frame(result)
        elif result and not result.endswith(b"\n"):
            result += b"\n"
        if result:
            made.setdefault(reader, []).append(result)
            size += len(result)

    for message in split(content.data, framed=content.framed):
        argv = program.argv()
        readers = recipients() or (EVERYBODY,)
        if argv:
            await asyncio.gather(*(for_reader(reader, message, argv) for reader in readers))
        else:
            for reader in readers:
                made.setdefault(reader, []).append(message)
        if size > ENOUGH_BYTES:
            yield _parts(made, content)
            made, size = {}, 0
    yield _parts(made, content)


def _parts(made: dict[str, list[bytes]], content: Content) -> Parts:
    return [
        (reader, content_of(b"".join(pieces), framed=content.framed, repeated=content.repeated))
        for reader, pieces in made.items()
    ]


async def _run(argv: Sequence[str], environment: Mapping[str, str], message: bytes) -> bytes | str:
    """Its output, or why there is none."""
    try:
        program = process.Program(argv, process.environment(environment), MAX_OUTPUT, stdin=message)
    except process.NotStartedError as error:
        return str(error)
    try:
        outcome = await asyncio.wait_for(program.outcome(), TIMEOUT_S)
    except TimeoutError:
        program.kill()
        return f"{argv[0]} had not ended after {TIMEOUT_S:g} s"
    except asyncio.CancelledError:
        program.kill()
        raise
    if outcome.exit_status:
        said = outcome.stderr.decode("utf-8", "replace").strip()[:200]
        return f"{argv[0]}: exit status {outcome.exit_status}{f': {said}' if said else ''}"
    if outcome.truncated:
        return f"{argv[0]} made more than {MAX_OUTPUT} bytes of one message"
    return outcome.stdout
