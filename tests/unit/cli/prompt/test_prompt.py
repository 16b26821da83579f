"""What a prompt works out by itself: completion of the last word, long answers, ends, the active namespace."""

from __future__ import annotations

import pytest

from cli.answers.printable import printable
from cli.prompt.attach import active_namespace
from cli.prompt.client import ends_server, errors_of
from cli.prompt.completion import last_words
from cli.prompt.pager import needs_pager
from cli.subcommands import SUBCOMMANDS
from cli.usage import usage


@pytest.mark.parametrize(
    ("typed", "lines", "words"),
    [
        ("vm in", ["vm info "], ["info "]),
        ("vm ", ["vm config ", "vm info "], ["config ", "info "]),
        ("v", ["version ", "vm "], ["version ", "vm "]),
        ("", ["vm "], ["vm "]),
        ("read /tmp/a", ["read /tmp/a b/", "read /tmp/ac "], ["/tmp/a b/", "/tmp/ac "]),
        ("vm\tin", ["vm\tinfo "], ["info "]),
        ("vm in", ["something else "], []),
    ],
)
def test_the_last_word_is_completed(typed: str, lines: list[str], words: list[str]) -> None:
    assert last_words(typed, lines) == words


@pytest.mark.parametrize(
    ("lines", "screen", "needs"), [(1, 24, False), (48, 24, False), (49, 24, True), (1000, 0, False)]
)
def test_an_answer_of_more_than_two_screens_is_long(lines: int, screen: int, needs: bool) -> None:
    assert needs_pager("\n".join(["x"] * lines), screen) is needs


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("quit", True),
        ("  qu 0", True),
        ("nuke", True),
        ("nu", True),
        ("namespace x quit", True),
        (".record false nuke", True),
        ("n", False),
        ("vm info", False),
        ("echo quitter", False),
        ("", False),
    ],
)
def test_commands_that_may_end_the_server(line: str, ends: bool) -> None:
    assert ends_server(line) is ends


def test_the_active_namespace() -> None:
    header = ["namespace", "vlans", "active"]
    assert active_namespace([{"Header": header, "Tabular": [["exp", "", "true"]]}]) == "exp"
    assert active_namespace([{"Header": ["vlans", "namespace"], "Tabular": [["", "exp"]]}]) == "exp"
    for useless in ({}, {"Header": None, "Tabular": None}, {"Header": header, "Tabular": []}, {"Error": "x"}):
        assert active_namespace([useless]) == ""
    assert active_namespace([]) == ""


def test_errors_as_lines() -> None:
    assert errors_of({"Resp": [{"Host": "a", "Error": ""}, {"Host": "b", "Error": "no"}]}) == ["Error (b): no"]
    assert errors_of({"Resp": None}) == []


def test_what_would_command_the_terminal_is_shown() -> None:
    assert printable("a\tb\n\u00fc\u4e2d") == "a\tb\n\u00fc\u4e2d"
    assert printable("\x1b]0;x\x07\r\x00\x7f\x9b") == r"\x1b]0;x\x07\x0d\x00\x7f\x9b"


@pytest.mark.parametrize("subcommand", ["", "minimega", *SUBCOMMANDS])
def test_help_fits_on_a_terminal(subcommand: str) -> None:
    text = usage(subcommand)
    assert text.startswith("usage: ") or not subcommand
    assert max(map(len, text.splitlines())) <= 80
