"""What actors say they can be asked is what they can be asked."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from actors.roster import GATEWAY, METRICS, ROSTER
from bus import codec
from bus.actor.base import Actor
from bus.actor.step import Fail, Received
from bus.actor.step_actor import StepActor
from bus.broker import broker, node_calls
from bus.messages.base import Query, Request
from bus.messages.debug import Inspection
from bus.paths import context
from tools.vectors import example, messages

REQUESTS = {tag: klass for tag, klass in messages().items() if issubclass(klass, Request)}
FORKED = ("warden", "broker")
"""They are no actors."""


def actor_class(entry: str) -> type[Actor]:
    """The class behind a line of the roster."""
    module, _, attributes = entry.partition(":")
    klass: type[Actor] = getattr(importlib.import_module(module), attributes.partition(".")[0])
    return klass


ACTORS = [actor_class(spec.entry) for spec in (*ROSTER, METRICS, GATEWAY) if spec.name not in FORKED]
STEP_ACTORS = [klass for klass in ACTORS if issubclass(klass, StepActor)]


def declared(klass: type[Actor]) -> set[type[Any]]:
    """Its own requests, besides those that all actors understand."""
    return {*klass.handlers, *(klass.requests if issubclass(klass, StepActor) else ())}


async def understands(klass: type[StepActor[Any]], request: type[Request[Any]], base: Path) -> bool:
    """Whether its step does anything but refuse."""
    actor = klass(context(base), None)
    actor.port._zmq.term()
    inp = Received(msg_id="m", body=example(request), namespace="exp1", time_s=1.0, seed=1, sender="x@h")
    effects = actor.step(actor.initial_state(), inp)
    return not any(isinstance(one, Fail) and one.code == "unknown_type" for one in effects)


@pytest.mark.parametrize("klass", STEP_ACTORS, ids=lambda klass: klass.kind)
async def test_the_step_of_an_actor_understands_what_is_declared_and_no_more(
    klass: type[StepActor[Any]], base_dir: Path
) -> None:
    changing = [one for one in REQUESTS.values() if not issubclass(one, Query) and one not in klass.handlers]
    found = {one for one in changing if await understands(klass, one, base_dir)}
    assert found == set(klass.requests)


def test_every_request_there_is_has_somebody_who_understands_it() -> None:
    answered = {*broker.OWN_REQUESTS, *node_calls.REQUESTS}.union(*map(declared, ACTORS))
    orphans = {tag for tag, klass in REQUESTS.items() if klass not in answered and not issubclass(klass, Inspection)}
    assert orphans == set()


def test_nobody_but_the_broker_declares_what_all_understand() -> None:
    assert {codec.tag_of(one) for klass in ACTORS for one in declared(klass) if issubclass(one, Inspection)} == set()
