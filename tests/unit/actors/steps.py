"""What tests of pure steps share: inputs in a row, effects in rows, and what is still unanswered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from bus import codec
from bus.actor.step import Answered, Ask, Effect, Fail, Input, Publish, Received, Reply
from bus.messages.base import DEFAULT_NAMESPACE, Message, Request

S = TypeVar("S", bound=msgspec.Struct)
E = TypeVar("E", bound=Effect)

Step = Callable[[S, Input], list[Effect]]


def received(
    body: Request[Any], msg_id: str = "m1", *, namespace: str = DEFAULT_NAMESPACE, time_s: float = 100.0, seed: int = 7
) -> Received:
    """A request as the shell would feed it."""
    return Received(
        msg_id=msg_id, body=body, namespace=namespace, time_s=time_s, boot_s=time_s, seed=seed, sender="test@h1"
    )


def play(step: Step[S], state: S, *inputs: Input) -> list[list[Effect]]:
    """The effects of each input in turn."""
    return [step(state, inp) for inp in inputs]


def only(kind: type[E], effects: Iterable[Effect]) -> list[E]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def the(kind: type[E], effects: Iterable[Effect]) -> E:
    """The one effect of this kind; raises ValueError if there are none or several."""
    (effect,) = only(kind, effects)
    return effect


def answer(ask: Ask, body: Message, *, time_s: float = 100.0, seed: int = 8) -> Answered:
    """The answer to an ask."""
    return Answered(tag=ask.tag, body=body, time_s=time_s, boot_s=time_s, seed=seed)


def replies(effects: Iterable[Effect]) -> dict[str, Message | Fail]:
    """What each request was answered with; raises ValueError if one was answered twice."""
    found: dict[str, Message | Fail] = {}
    for effect in effects:
        if isinstance(effect, Reply | Fail):
            if effect.msg_id in found:
                raise ValueError(f"{effect.msg_id} is answered twice")
            found[effect.msg_id] = effect.body if isinstance(effect, Reply) else effect
    return found


def events(effects: Iterable[Effect]) -> list[str]:
    """The topics published on, in order."""
    return [effect.topic for effect in effects if isinstance(effect, Publish)]


def through_journal(inp: Input) -> Input:
    """The input as it comes back from the journal."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(codec.to_builtins(inp)))
    klass: Any = type(inp)
    if "body" in fields:
        body = codec.from_builtins(fields.pop("body"))
        del fields["type"]
        restored: Input = klass(**fields, body=body)
        return restored
    converted: Input = msgspec.convert(fields, klass)
    return converted


def through_snapshot(state: S) -> S:
    """The state as it comes back from a snapshot."""
    return msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(state)), type(state), strict=False)
