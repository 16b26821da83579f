"""The warden's event loop."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest

from shims.container.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop."""
    loop = Loop()
    yield loop
    loop.close()


def test_timers_in_order(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0.004, lambda: seen.append("late"))
    loop.call_later(0.0, lambda: seen.append("now"))
    loop.call_later(0.0, lambda: seen.append("then"))
    cancelled = loop.call_later(0.0, lambda: seen.append("never"))
    cancelled.cancel()
    cancelled.cancel()
    while "late" not in seen:
        loop.run_once()
    assert seen == ["now", "then", "late"]


def test_descriptors(loop: Loop) -> None:
    reader, writer = os.pipe()
    seen: list[bytes] = []
    loop.watch(reader, lambda events: seen.append(os.read(reader, 10)))
    os.write(writer, b"x")
    loop.run_once()
    assert seen == [b"x"]
    loop.unwatch(reader)
    loop.unwatch(reader)
    os.write(writer, b"y")
    loop.call_later(0.0, lambda: None)
    loop.run_once()
    assert seen == [b"x"]
    os.close(reader)
    os.close(writer)


def test_a_callback_may_unwatch_the_next_one(loop: Loop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    seen: list[int] = []

    def ready(index: int, events: int) -> None:
        seen.append(index)
        for reader, _ in pipes:
            loop.unwatch(reader)

    for index, (reader, writer) in enumerate(pipes):
        loop.watch(reader, functools.partial(ready, index))
        os.write(writer, b"x")
    loop.run_once()
    assert len(seen) == 1
    for pair in pipes:
        for fd in pair:
            os.close(fd)
