"""`minibus restart`: ends one process and starts it again, also one that had been given up."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from bus.client import connect
from bus.errors import BusError, InvalidError, NotFoundError, OutcomeUnknownError, UnavailableError, UnreachableError
from bus.messages.control import ActorStatus, GetActors, RestartActor

ASK_S = 10.0
READY_S = 45.0
"""The node gives a process ten seconds to end and thirty to become ready."""
LOOK_S = 0.05
NODE = "node"


def restart(base: Path, actor: str) -> int:
    """Returns the exit status when the process serves again."""
    try:
        asyncio.run(_restart(base, actor))
    except BusError as error:
        sys.stderr.write(f"minibus: {error}\n")
        return 1
    return 0


async def _restart(base: Path, actor: str) -> None:
    if actor == NODE:
        raise InvalidError("the node is what starts the others: say `minibus down` and `minibus up`, and guests run on")
    before = await _status(base, actor)
    async with connect(base) as port:
        with contextlib.suppress(OutcomeUnknownError):  # of the broker itself: the look at it tells
            await port.ask("node", RestartActor(actor=actor), timeout_s=ASK_S)
    try:
        async with asyncio.timeout(READY_S):
            await _until_new(base, actor, before)
    except TimeoutError:
        raise UnavailableError(f"{actor} is not ready after {READY_S:g} s: `minibus ps` shows why") from None


async def _until_new(base: Path, actor: str, before: ActorStatus) -> None:
    while True:
        with contextlib.suppress(UnreachableError, OutcomeUnknownError):  # the broker is the one that is restarted
            now = await _status(base, actor)
            if now.state == "running" and (now.pid, now.restarts) != (before.pid, before.restarts):
                return
            if now.state == "failed":
                raise UnavailableError(f"{actor} does not start: {now.reason}")
        await asyncio.sleep(LOOK_S)


async def _status(base: Path, actor: str) -> ActorStatus:
    async with connect(base) as port:
        rows = (await port.ask("node", GetActors(), timeout_s=ASK_S)).actors
    return found(rows, actor)


def found(rows: Sequence[ActorStatus], actor: str) -> ActorStatus:
    """The process of this name; raises NotFoundError with the names that there are."""
    row = next((row for row in rows if row.actor == actor), None)
    if row is None:
        others = ", ".join(row.actor for row in rows if row.actor != NODE)
        raise NotFoundError(f"there is no process `{actor}`; there are {others}")
    return row
