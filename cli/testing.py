"""A stand-in for the bus, for tests of what asks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar, cast

from bus.errors import BusError, UnknownTypeError
from bus.messages.base import Message, Request

R = TypeVar("R", bound=Message)

Reaction = Message | BusError | Callable[["Asked"], Message | BusError | Awaitable[Message]]


class Asked(NamedTuple):
    """A request that came in."""

    to: str
    request: Message
    namespace: str
    msg_id: str


class FakeBus:
    """Answers each type of request as told: with a message, an error, or what a function makes of it."""

    def __init__(self, reactions: dict[type[Message], Reaction] | None = None) -> None:
        self.reactions: dict[type[Message], Reaction] = dict(reactions or {})
        self.asked: list[Asked] = []

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str, msg_id: str) -> R:
        """As `bus.port.Port.ask`."""
        asked = Asked(to, request, namespace, msg_id)
        self.asked.append(asked)
        reaction: Any = self.reactions.get(
            type(request), UnknownTypeError(f"nobody here knows {type(request).__name__}")
        )
        if not isinstance(reaction, Message | BusError):
            reaction = reaction(asked)
        if isinstance(reaction, Awaitable):
            reaction = await reaction
        if isinstance(reaction, BusError):
            raise reaction
        return cast(R, reaction)
