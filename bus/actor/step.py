"""Inputs and effects: what an actor's pure `step(state, input) -> list[Effect]` sees and asks for.

The shell (`bus.actor.base`) journals an input, calls `step`, carries out the effects and feeds what comes of them
back as further inputs. After a crash the journal is replayed through the same `step`: so a `step` reads no clock,
makes no random numbers and touches nothing outside its state. Time and randomness come with the input.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

import msgspec

from bus.messages.base import DEFAULT_NAMESPACE, Event, Message, Request


class Input(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="input"):
    """Base of the inputs. `time_s` is UTC seconds since 1970, `seed` 63 random bits."""

    time_s: float = 0.0
    boot_s: float = 0.0
    """Seconds since the host was booted: for durations, because nobody can set that clock (CLOCK_BOOTTIME)."""
    seed: int = 0

    def new_uuid(self, index: int = 0) -> str:
        """A random UUID (version 4) that replay will make again; `index` tells several of one input apart."""
        return str(uuid.UUID(int=random.Random(f"{self.seed}/{index}").getrandbits(128), version=4))  # noqa: S311 - no secret


class Received(Input, frozen=True, kw_only=True, omit_defaults=True, tag="received"):
    """A request that changes something; answered by exactly one `Reply` or `Fail` with its `msg_id`, now or later."""

    msg_id: str
    body: Any
    """The `Request`."""
    sender: str = ""
    namespace: str = DEFAULT_NAMESPACE
    cause: str = ""
    """Id of the request that led to it."""


class Answered(Input, frozen=True, kw_only=True, omit_defaults=True, tag="answered"):
    """An `Ask` was answered."""

    tag: str
    body: Any
    """The reply message."""


class AskFailed(Input, frozen=True, kw_only=True, omit_defaults=True, tag="ask_failed"):
    """An `Ask` brought a `Failure`, or no answer in time."""

    tag: str
    code: str
    message: str


class Recovered(Input, frozen=True, kw_only=True, omit_defaults=True, tag="recovered"):
    """The actor has started and its journal has been replayed; open asks are sent again after this step."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the effects; actors add their own and carry them out in `Actor.carry_out`."""


class Reply(Effect, frozen=True, kw_only=True):
    """Answer a request; the answer is remembered for a repeat of the same id."""

    msg_id: str
    body: Message


class Fail(Effect, frozen=True, kw_only=True):
    """Answer a request with a `Failure`; `code` from `bus.errors`, `message` one sentence for the user."""

    msg_id: str
    code: str
    message: str


def not_understood(actor: str, inp: Received) -> Fail:
    """The answer to a request that this actor's `step` has no case for."""
    return Fail(
        msg_id=inp.msg_id, code="unknown_type", message=f"{actor} does not understand {type(inp.body).__name__}"
    )


class Publish(Effect, frozen=True, kw_only=True):
    """Tell the world, after the change."""

    topic: str
    event: Event
    namespace: str = DEFAULT_NAMESPACE
    cause: str = ""


class Ask(Effect, frozen=True, kw_only=True):
    """Send a request; `Answered` or `AskFailed` comes back with the same tag.

    The tag must be unique among the open asks of the actor and the same on replay (derive it from `msg_id`); it also
    makes the request's id, so that a request repeated after a crash is not done twice. `unreachable` is retried until
    the time is up.
    """

    tag: str
    to: str
    body: Request[Any]
    timeout_s: float
    namespace: str = DEFAULT_NAMESPACE
    cause: str = ""
