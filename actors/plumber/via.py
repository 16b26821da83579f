"""A via: a program that makes of each message what one reader gets. One message at a time, its readers side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from actors.plumber.messages import Content, content_of, frame, payload, split
from shims import process

TIMEOUT_S = 5.0
"""For one message and one reader."""
MAX_OUTPUT = 1_048_576
AT_ONCE = 16
"""Programs of one message that run side by side."""
EVERYBODY = ""
"""Stands for the subscribers, if nobody is attached."""


async def transform(
    content: Content,
    recipients: Callable[[], Sequence[str]],
    argv: Sequence[str],
    on_error: Callable[[str, str], None],
) -> list[tuple[str, Content]]:
    """What each reader gets of some messages.

    `recipients` says who is to get the next message, `on_error` takes a reader that gets nothing of one, and why.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    made: dict[str, list[bytes]] = {}

    async def for_reader(reader: str, message: bytes) -> None:
        async with slots:
            result = await _run(argv, message)
        if isinstance(result, str):
            on_error(reader, result)
        elif result and content.framed:
            made.setdefault(reader, []).append(frame(result))
        elif result:
            made.setdefault(reader, []).append(result if result.endswith(b"\n") else result + b"\n")

    for message in split(content.data, framed=content.framed):
        given = payload(message, framed=True) if content.framed else message
        await asyncio.gather(*(for_reader(reader, given) for reader in recipients() or (EVERYBODY,)))
    return [
        (reader, content_of(b"".join(parts), framed=content.framed, repeated=content.repeated))
        for reader, parts in made.items()
    ]


async def _run(argv: Sequence[str], message: bytes) -> bytes | str:
    """Its output, or why there is none."""
    try:
        program = process.Program(argv, process.environment({}), MAX_OUTPUT, stdin=message)
    except process.NotStartedError as error:
        return str(error)
    try:
        outcome = await asyncio.wait_for(program.outcome(), TIMEOUT_S)
    except TimeoutError:
        program.kill()
        return f"{argv[0]} had not ended after {TIMEOUT_S:g} s"
    if outcome.exit_status:
        said = outcome.stderr.decode("utf-8", "replace").strip()[:200]
        return f"{argv[0]}: exit status {outcome.exit_status}{f': {said}' if said else ''}"
    if outcome.truncated:
        return f"{argv[0]} made more than {MAX_OUTPUT} bytes of one message"
    return outcome.stdout
