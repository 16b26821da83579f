"""Writes in the order of their numbers, each once, and answers in that order too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.plumber import writers as module
from actors.plumber.writers import TooFarAheadError, TooManyError, Writers
from bus.pipe_messages import Content, content_of


def content(number: int) -> Content:
    return content_of(b"%d\n" % number)


class Bench:
    """One writer's writes as they are asked for; tickets count up."""

    def __init__(self) -> None:
        self.writers = Writers()
        self.ticket = 0
        self.taken: list[int] = []
        self.ready: list[int] = []

    def ask(self, number: int, oldest: int = 1, now_s: float = 0.0) -> int:
        """The ticket to wait for."""
        self.ticket += 1
        taken = self.writers.take("w", number, oldest, content(number), self.ticket, now_s)
        self.taken += [int(found.data) for found, _ in taken.ready]
        self.ready += [ticket for _, ticket in taken.ready]
        return taken.ticket


def test_writes_are_taken_in_the_order_of_their_numbers() -> None:
    bench = Bench()
    for number in (1, 3, 4, 2, 6, 5):
        bench.ask(number)
    assert bench.taken == [1, 2, 3, 4, 5, 6]
    assert bench.writers.early_bytes == 0


def test_a_write_is_taken_once_however_often_it_is_asked_for() -> None:
    bench = Bench()
    ticket = bench.ask(1)
    assert bench.ask(1) == ticket
    assert bench.writers.done(ticket) == [ticket]
    assert bench.ask(1) == 0
    assert bench.taken == [1]


def test_answers_come_in_the_order_of_the_numbers() -> None:
    bench = Bench()
    one, two, three = bench.ask(1), bench.ask(2), bench.ask(3)
    assert bench.writers.done(two) == []
    assert bench.writers.done(one) == [one, two]
    assert bench.writers.done(three) == [three]
    assert bench.writers.done(99) == [99]  # of nobody in particular


def test_a_plumber_that_was_restarted_begins_with_the_oldest_write_without_an_answer() -> None:
    bench = Bench()
    bench.ask(9, oldest=7)
    assert bench.taken == []
    bench.ask(8, oldest=7)
    bench.ask(7, oldest=7)
    assert bench.taken == [7, 8, 9]


def test_a_write_that_was_on_its_way_for_long_does_not_have_answered_ones_waited_for() -> None:
    bench = Bench()
    bench.ask(9, oldest=7)  # 7 and 8 were answered while it was on its way through a restart of both processes
    bench.ask(10, oldest=9)
    assert bench.taken == [9, 10]
    bench.ask(13, oldest=11)
    bench.ask(14, oldest=14)
    assert bench.taken == [9, 10, 14]
    assert bench.writers.early_bytes == 0


def test_too_far_ahead_and_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WRITERS", 1)
    bench = Bench()
    bench.ask(1)
    with pytest.raises(TooFarAheadError):
        bench.ask(2 + module.MAX_AHEAD)
    with pytest.raises(TooManyError):
        bench.writers.take("other", 1, 1, content(1), 77, 0.0)


def test_what_waits_for_a_missing_write_is_given_up_with_its_writer() -> None:
    bench = Bench()
    ticket = bench.ask(1)
    waiting = bench.ask(3)
    assert bench.writers.early_bytes == 2
    assert bench.writers.leave("w") == [waiting]
    assert bench.writers.early_bytes == 0
    assert bench.writers.done(ticket) == [ticket]
    assert bench.writers.leave("w") == []


def test_a_silent_writer_is_forgotten_unless_the_pipe_has_something_of_it() -> None:
    bench = Bench()
    ticket = bench.ask(1)
    assert bench.writers.tick(61.0) == []
    assert list(bench.writers.known) == ["w"]
    bench.writers.done(ticket)
    waiting = bench.ask(3, now_s=1.0)
    assert bench.writers.tick(61.0) == []
    assert bench.writers.tick(61.1) == [waiting]
    assert bench.writers.known == {}


@pytest.mark.parametrize(
    ("asked", "number", "waits"),
    [((), 1, True), ((1,), 2, True), ((1,), 1, False), ((1, 3), 2, False), ((1, 3), 4, True)],
)
def test_which_writes_can_be_told_to_come_later(asked: tuple[int, ...], number: int, waits: bool) -> None:
    bench = Bench()
    for earlier in asked:
        bench.ask(earlier)
    assert bench.writers.would_wait("w", number) is waits


@given(st.data())
def test_whatever_order_and_repeats(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    order = data.draw(st.permutations(range(1, count + 1)))
    bench = Bench()
    answered: list[int] = []
    done: set[int] = set()
    for number in order:
        bench.ask(number)
        if data.draw(st.booleans()):
            bench.ask(number)
        open_now = [ticket for ticket in bench.ready if ticket not in done]
        for ticket in data.draw(st.lists(st.sampled_from(open_now), unique=True)) if open_now else ():
            done.add(ticket)
            answered += bench.writers.done(ticket)
    for ticket in bench.ready:
        if ticket not in done:
            answered += bench.writers.done(ticket)
    assert bench.taken == list(range(1, count + 1))
    assert answered == bench.ready
    assert bench.writers.known["w"].open == {}
