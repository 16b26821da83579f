"""Whether minibus is there, for programs that stay connected to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from bus.client import connect_remote
from bus.errors import OutcomeUnknownError, UnreachableError
from bus.messages.gateway import GetRights
from bus.node.presence import is_running
from bus.remote import remote
from cli.place import Place
from cli.running import running

T = TypeVar("T")

LOOK_S = 1.0
GONE_S = 10.0
"""How long node and broker may be away, as they are in a restart, before one gives up."""
ANSWER_S = 5.0


async def while_there(place: Place, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; ends it and raises UnreachableError when minibus has ended and does not come back.

    Raises DeniedError when the key to another host is not good any more.
    """
    async with running(work) as task, running(_until_gone(place)) as gone:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await gone
        return await task


async def _until_gone(place: Place) -> None:
    if place.key:
        await _until_refused(place)
    else:
        await _until_ended(place.base)


async def _until_ended(base: Path) -> None:
    """Raise UnreachableError when minibus has ended and does not come back.

    Looks are counted, not time: a program that was stopped (Ctrl-Z) knows nothing of the time in which it did not look.
    """
    away_s = 0.0
    while away_s < GONE_S:
        away_s = 0.0 if is_running(base) else away_s + LOOK_S
        await asyncio.sleep(LOOK_S)
    raise UnreachableError(f"minibus does not run on {base} any more")


async def _until_refused(place: Place) -> None:
    """The same of another host, by asking its gateway; raises DeniedError too."""
    loop = asyncio.get_running_loop()
    async with connect_remote(place.address, place.key) as port:
        away_s = 0.0
        while away_s < GONE_S:
            begun_s = loop.time()
            try:
                await port.ask("gateway", GetRights(), timeout_s=ANSWER_S)
                away_s = 0.0
            except (UnreachableError, OutcomeUnknownError):
                away_s += LOOK_S + min(ANSWER_S, loop.time() - begun_s)
            await asyncio.sleep(LOOK_S)
    raise UnreachableError(f"minibus does not answer at {remote(place.address, place.key)} any more")
