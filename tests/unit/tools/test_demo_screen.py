"""Where the demo writes, on a terminal and elsewhere."""

from __future__ import annotations

import io

from tools.demo_screen import ERASE, Screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_are_plain_lines() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err)
    screen.begin("launching")
    screen.count(3, 10)
    screen.show("table")
    screen.end()
    screen.say("done")
    assert out.getvalue() == "table\n"
    assert err.getvalue() == "demo: launching\ndemo: done\n"


def test_on_a_terminal_one_line_changes_and_vanishes() -> None:
    out, err = io.StringIO(), Terminal()
    screen = Screen(out, err)
    screen.begin("launching")
    screen.count(10, 10)
    screen.end()
    screen.count(10, 10)
    assert err.getvalue() == f"{ERASE}demo: launching{ERASE}demo: launching: 10 of 10{ERASE}"
    assert out.getvalue() == ""


def test_on_a_terminal_the_line_is_not_drawn_for_each_event() -> None:
    err = Terminal()
    screen = Screen(io.StringIO(), err)
    screen.begin("launching")
    for number in range(1, 1000):
        screen.count(number, 10_000)
    assert err.getvalue().count("launching:") < 100


def test_a_result_is_not_written_behind_the_changing_line() -> None:
    err = Terminal()
    screen = Screen(Terminal(), err)
    screen.begin("looking")
    screen.show("table")
    assert err.getvalue().endswith(ERASE)
