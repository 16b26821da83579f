"""The client's side of a console, against an actor that is lost, restarted, or holds back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bus.errors import BusError, CancelledError, DeadlineError, NotFoundError, UnavailableError, UnreachableError
from bus.library import consoles
from bus.library.consoles import ConsoleViewer, Output
from bus.messages.base import Ack, Message
from bus.messages.console import (
    FROM_NOW,
    FROM_SCROLL_BACK,
    MAX_INPUT_BYTES,
    ConsoleInput,
    ConsoleOutput,
    ReadConsole,
    ResizeConsole,
    TypeAtConsole,
)

Answer = Message | BusError | Callable[[Message], Message]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAUSE_FIRST_S", "PAUSE_MAX_S", "FULL_S"):
        monkeypatch.setattr(consoles, name, 0.0)


class Bus:
    """Answers in the order of a list."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Message] = []

    async def ask(self, to: str, request: Message, *, timeout_s: float, namespace: str) -> Message:
        assert (to, namespace) == ("container@h", "exp1")
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, BusError):
            raise answer
        return answer if isinstance(answer, Message) else answer(request)


def viewer(bus: Bus, *, from_now: bool = False) -> ConsoleViewer:
    return ConsoleViewer(bus, "container@h", 7, namespace="exp1", from_now=from_now)  # type: ignore[arg-type]


def output(offset: int, data: bytes, stream: str = "s", *, ended: bool = False) -> ConsoleOutput:
    return ConsoleOutput(stream=stream, offset=offset, data=data, ended=ended)


def takes_all(request: Message) -> Message:
    assert isinstance(request, TypeAtConsole)
    return ConsoleInput(taken=request.position + len(request.data))


def after(bus: Bus) -> list[tuple[str, int]]:
    """What was asked for: stream and offset."""
    return [(asked.stream, asked.after) for asked in bus.asked if isinstance(asked, ReadConsole)]


async def test_output_is_followed() -> None:
    bus = Bus(output(100, b"abc"), output(103, b""), output(103, b"de"), output(105, b"f", ended=True))
    watching = viewer(bus)
    assert [await watching.read() for _ in range(5)] == [Output(b"abc"), Output(b""), Output(b"de"), Output(b"f"), None]
    assert after(bus) == [("", FROM_SCROLL_BACK), ("s", 103), ("s", 103), ("s", 105)]


async def test_from_now() -> None:
    bus = Bus(output(100, b""), output(100, b"x"))
    watching = viewer(bus, from_now=True)
    assert [await watching.read() for _ in range(2)] == [Output(b""), Output(b"x")]
    assert after(bus) == [("", FROM_NOW), ("s", 100)]


@pytest.mark.parametrize("error", [UnreachableError("x"), CancelledError("x"), DeadlineError("x")])
async def test_an_outage_is_sat_out(error: BusError) -> None:
    bus = Bus(output(0, b"a"), error, error, output(1, b"b"))
    watching = viewer(bus)
    assert [await watching.read() for _ in range(2)] == [Output(b"a"), Output(b"b")]
    assert after(bus)[1:] == [("s", 1)] * 3


async def test_what_is_missing_is_counted_and_a_new_stream_begins_anew() -> None:
    bus = Bus(output(0, b"a"), output(51, b"b"), output(3, b"c", "t"))
    watching = viewer(bus)
    assert [await watching.read() for _ in range(3)] == [Output(b"a"), Output(b"b", 50), Output(b"c")]


async def test_errors_that_stay_are_raised() -> None:
    for error in (NotFoundError("no such"), UnavailableError("lost")):
        with pytest.raises(type(error)):
            await viewer(Bus(error)).read()


async def test_a_container_that_is_flushed_has_ended() -> None:
    watching = viewer(Bus(output(0, b"a"), NotFoundError("no such")))
    assert [await watching.read() for _ in range(3)] == [Output(b"a"), None, None]


async def test_input_is_sent_in_pieces_and_what_was_not_taken_again() -> None:
    data = bytes(range(256)) * 40
    bus = Bus(
        takes_all,
        ConsoleInput(taken=MAX_INPUT_BYTES + 10),
        ConsoleInput(taken=MAX_INPUT_BYTES + 10),
        takes_all,
        takes_all,
    )
    await viewer(bus).type(data)
    sent = [(asked.position, len(asked.data)) for asked in bus.asked if isinstance(asked, TypeAtConsole)]
    begin = MAX_INPUT_BYTES + 10
    assert sent == [(0, 4096), (4096, 4096), (begin, 4096), (begin, 4096), (begin + 4096, len(data) - begin - 4096)]
    assert all(asked.data == data[asked.position :][:4096] for asked in bus.asked if isinstance(asked, TypeAtConsole))


async def test_a_repeat_says_that_it_is_one() -> None:
    bus = Bus(UnreachableError("x"), CancelledError("x"), UnreachableError("x"), takes_all, takes_all)
    typing = viewer(bus)
    await typing.type(b"ab")
    await typing.type(b"c")
    assert [asked.repeated for asked in bus.asked if isinstance(asked, TypeAtConsole)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert not typing.in_doubt


async def test_doubt_is_told_once() -> None:
    typing = viewer(Bus(CancelledError("x"), ConsoleInput(taken=2, in_doubt=True), takes_all))
    await typing.type(b"ab")
    assert typing.in_doubt
    await typing.type(b"c")
    assert not typing.in_doubt


async def test_resizing() -> None:
    bus = Bus(CancelledError("x"), Ack())
    await viewer(bus).resize(24, 80)
    assert bus.asked == [ResizeConsole(vm_id=7, rows=24, columns=80)] * 2
