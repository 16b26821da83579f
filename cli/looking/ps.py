"""`minibus ps`: the processes of a node."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bus.errors import BusError, UnreachableError
from bus.messages.control import ActorStatus, GetActors
from bus.node.by_hand import held_locks
from bus.paths import Paths
from bus.processes import pss_mib
from cli.answers.columns import columns
from cli.looking.patience import Patience, patience
from cli.place import Place, connected

TIMEOUT_S = 10.0
HEADER = ("actor", "pid", "state", "restarts", "inbox", "pss_mib")


def ps(place: Place, *, as_json: bool) -> int:
    """Print the processes of the node, node, broker and warden included; returns the exit status."""
    limit = patience()
    with limit.kept():
        try:
            actors = _found(place, limit)
        except BusError as error:
            sys.stderr.write(f"minibus: {error}\n")
            return 1
    print(json.dumps([status_object(actor) for actor in actors]) if as_json else status_table(actors))
    return 0


def _found(place: Place, limit: Patience) -> Sequence[ActorStatus]:
    """Raises BusError."""
    try:
        return asyncio.run(_actors(place, limit))
    except UnreachableError:
        limit.now("it looked at processes that the broker cannot tell of")
        found = [] if place.key else _without_broker(place.base)
        if not found:
            raise
        return found


async def _actors(place: Place, limit: Patience) -> Sequence[ActorStatus]:
    limit.now("it connected")
    async with connected(place) as port:
        limit.now("it asked")
        reply = await port.ask("node", GetActors(), timeout_s=TIMEOUT_S)
        limit.now("it disconnected")
        return reply.actors


def _without_broker(base: Path) -> list[ActorStatus]:
    """Those that have their locks; none for a user who cannot see them."""
    with contextlib.suppress(OSError):
        return [
            ActorStatus(actor=one.name, pid=one.pid, state="no broker", pss_mib=pss_mib(one.pid))
            for one in held_locks(Paths(base.resolve()).run)
        ]
    return []


def status_object(actor: ActorStatus) -> dict[str, Any]:
    """What programs read; the keys of the table first."""
    return {
        "actor": actor.actor,
        "pid": actor.pid,
        "state": actor.state,
        "restarts": actor.restarts,
        "inbox": actor.inbox,
        "pss_mib": round(actor.pss_mib, 2),
        "reason": actor.reason,
        "falls": [msgspec.structs.asdict(fall) for fall in actor.falls],
        "address": actor.address,
    }


def status_table(actors: Sequence[ActorStatus]) -> str:
    """Aligned columns, numbers to the right; where it listens, and why it was restarted, at the end of the line."""
    objects = [status_object(actor) for actor in actors]
    rows = [[*(str(one[name]) for name in HEADER), f"{one['address']} {one['reason']}".strip()] for one in objects]
    return columns((*HEADER, ""), rows, left=("actor", "state", ""))
