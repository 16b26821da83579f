"""Sessions that begin: some at once, and a few for long."""

from __future__ import annotations

from actors.cc.sessions.greetings import Greetings


def test_some_may_begin_at_once_and_then_one_every_two_seconds() -> None:
    greetings = Greetings(0.0, 3.0)
    assert [greetings.one_more(0.0) for _ in range(4)] == [True, True, True, False]
    assert not greetings.is_forgettable(4.0)
    assert [greetings.one_more(now_s) for now_s in (1.0, 1.9, 2.0, 2.1, 3.0, 4.0)] == [
        *(False, False, True, False, False, True)
    ]
    assert greetings.is_forgettable(10.0)
    assert [greetings.one_more(100.0) for _ in range(4)] == [True, True, True, False]
