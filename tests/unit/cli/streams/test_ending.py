"""A signal ends a program wherever it is just then, and lets it say goodbye."""

from __future__ import annotations

import asyncio
import signal
import weakref
from collections.abc import Iterator

import pytest

from cli.streams.ending import run


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Thing:
    """Something that a weak reference can be to."""


async def in_a_callback(number: signal.Signals, said: list[str]) -> None:
    """Get a signal in the callback of a weak reference: what is raised there, Python ignores."""
    thing = Thing()
    reference = weakref.ref(thing, lambda reference: signal.raise_signal(number))
    del thing
    try:
        await asyncio.sleep(10)
    finally:
        said.append(f"goodbye {reference()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_not_lost(number: signal.Signals) -> None:
    said: list[str] = []
    with pytest.raises(SystemExit) as ended:
        run(in_a_callback(number, said), signal.SIGTERM, signal.SIGHUP)
    assert (ended.value.code, said) == (128 + number, ["goodbye None"])


def test_what_the_work_gives_and_raises() -> None:
    async def work(error: Exception | None) -> int:
        if error is not None:
            raise error
        return 7

    assert run(work(None), signal.SIGTERM) == 7
    with pytest.raises(BrokenPipeError):
        run(work(BrokenPipeError()), signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        run(work(asyncio.CancelledError()), signal.SIGTERM)  # type: ignore[arg-type]
