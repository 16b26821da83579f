"""When the container actor makes the calls that its step wants: none before it has reconciled, none twice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actors.container.actor import ContainerActor
from actors.container.state import CallWarden, Verb, WardenAnswered
from bus.actor.step import Input
from bus.paths import context


class Warden:
    """Starts when told to; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.broken = False

    async def start(self, guest_id: int) -> None:
        """The call under test."""
        self.asked += 1
        await self.may_answer.wait()
        if self.broken:
            raise RuntimeError("a bug")


class Bench(NamedTuple):
    """An actor with such a warden, and what it is fed."""

    actor: Any
    warden: Warden
    fed: list[Input]


@pytest.fixture
async def bench(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """One that is closed at the end."""
    actor: Any = ContainerActor(context(base_dir), None)
    bench = Bench(actor, Warden(), [])
    monkeypatch.setattr(actor, "_warden", bench.warden)
    monkeypatch.setattr(actor, "feed", bench.fed.append)
    yield bench
    actor._consoles.close()
    await actor.port.close()


CALL = CallWarden(call="m1/1", verb=Verb.START, vm_id=1)


async def test_reconciling_decides_on_what_was_asked_before_it(bench: Bench) -> None:
    actor, warden, fed = bench
    await actor._call(CALL)
    assert (warden.asked, fed) == (0, [])


async def test_the_same_call_is_made_once_at_a_time(bench: Bench) -> None:
    actor, warden, fed = bench
    actor._is_reconciled = True
    calls = [asyncio.create_task(actor._call(CALL)) for _ in range(2)]
    await asyncio.sleep(0)
    warden.may_answer.set()
    await asyncio.gather(*calls)
    assert (warden.asked, fed) == (1, [WardenAnswered(call="m1/1")])
    await actor._call(CALL)
    assert warden.asked == 2


async def test_a_call_that_breaks_is_answered(bench: Bench) -> None:
    actor, warden, fed = bench
    actor._is_reconciled = warden.broken = True
    warden.may_answer.set()
    await actor._call(CALL)
    (answer,) = fed
    assert isinstance(answer, WardenAnswered)
    assert "internal error in container" in answer.error
