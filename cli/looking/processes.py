"""Asking every process of a running minibus the same question over the bus."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from bus.address import parse_address
from bus.errors import BusError, NotFoundError
from bus.messages.base import Message
from bus.messages.control import GetAddresses
from bus.messages.debug import GetInputs, InputRecord, Inspection
from bus.port import Port
from cli.place import Place, connected
from cli.streams.presence import while_there

R = TypeVar("R", bound=Message)

ANSWER_S = 3.0
"""How long a process may take; a hung one is ended by the node after five seconds."""


OFF_THE_BUS = ("node", "warden")


class Input(NamedTuple):
    """An input, and whose it is."""

    actor: str
    record: InputRecord

    def as_object(self) -> dict[str, Any]:
        """For programs."""
        return {"actor": self.actor, **msgspec.structs.asdict(self.record)}


def run(place: Place, work: Coroutine[Any, Any, int]) -> int:
    """Run a tool of the bus; gives its exit status. What the bus refuses, and its end, is said in one sentence."""
    try:
        return asyncio.run(while_there(place, work))
    except BusError as error:
        sys.stderr.write(f"minibus: {error}\n")
        return 1


async def actors(port: Port) -> tuple[str, ...]:
    """Every name that takes requests, but `node`, whose questions the broker answers."""
    found = await port.ask("broker", GetAddresses(), timeout_s=ANSWER_S)
    return ("broker", *found.actors)


async def known(port: Port, address: str) -> str:
    """An address that somebody answers to; raises InvalidError or NotFoundError, which names those there are."""
    name = parse_address(address).actor
    if name in OFF_THE_BUS:
        raise NotFoundError(f"{name} is not on the bus itself; the broker has what is asked of node")
    there = await actors(port)
    if name not in there:
        raise NotFoundError(f"there is no actor `{name}`; there are {', '.join(there)}")
    return address


async def ask_all(port: Port, names: Sequence[str], question: Inspection[R]) -> list[tuple[str, R]]:
    """The answers of all who answer; who does not is named on stderr."""

    async def one(name: str) -> R | None:
        try:
            return await port.ask(name, question, timeout_s=ANSWER_S)
        except BusError as error:
            sys.stderr.write(f"minibus: {name}: {error}\n")
            return None

    answers = await asyncio.gather(*map(one, names))
    return [(name, answer) for name, answer in zip(names, answers, strict=True) if answer is not None]


async def all_inputs(place: Place) -> list[Input]:
    """What every process remembers, in order of time."""
    async with connected(place) as port:
        answers = await ask_all(port, await actors(port), GetInputs())
    found = [Input(name, record) for name, answer in answers for record in answer.inputs]
    return sorted(found, key=lambda one: one.record.time_s)
