"""Asking all processes of a node the same question about themselves, those included that cannot or do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from bus.errors import BusError
from bus.messages.base import DEFAULT_NAMESPACE, Message
from bus.messages.control import ActorStatus, GetActors
from bus.messages.debug import Inspection
from cli.commands.declare import QUICK_S, Engine

R = TypeVar("R", bound=Message)

ANSWER_S = 3.0
"""How long a process may take; a hung one is ended by the node after five seconds."""
SILENT = ("node", "warden")
"""They are not on the bus."""


class Found(NamedTuple):
    """One process, and what it said: the reply, or the reason why there is none."""

    process: ActorStatus
    reply: Message | str


async def running(engine: Engine) -> Sequence[ActorStatus]:
    """The processes of this node that run; raises BusError."""
    listed = await engine.ask("node", GetActors(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)
    return [process for process in listed.actors if process.pid]


async def ask_processes(
    engine: Engine, processes: Sequence[ActorStatus], question: Inspection[R], *, also: Sequence[str] = ()
) -> list[Found]:
    """Ask each process at the same time; those of `SILENT` only if they are named in `also`."""

    async def ask(process: ActorStatus) -> Found:
        if process.actor in SILENT and process.actor not in also:
            return Found(process, f"{process.actor} is not on the bus and can only be looked at from outside")
        try:
            return Found(
                process,
                await engine.ask(process.actor, question, timeout_s=ANSWER_S, namespace=DEFAULT_NAMESPACE),
            )
        except BusError as error:
            return Found(process, str(error))

    return list(await asyncio.gather(*map(ask, processes)))
