from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.grammar.completion import lines, wanted
from cli.grammar.matcher import Grammar

GRAMMAR = Grammar(
    (text, text)
    for text in (
        "version",
        "vm info [summary,]",
        "vm start <target>",
        "vm stop <target>",
        "vlans",
        "log level [debug,info]",
        ".csv [true,false]",
        ".csv <true,false> (command)",
        "echo [args]...",
        "namespace <name> (command)",
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v", ["version ", "vlans ", "vm "]),
        ("vm s", ["vm start ", "vm stop "]),
        ("vm info ", ["vm info summary "]),
        ("log level ", ["log level debug ", "log level info "]),
        ("log level d", ["log level debug "]),
        ("vm i", ["vm info "]),
        ("version ", []),
        ("nonsense ", []),
        (".csv true v", [".csv true version ", ".csv true vlans ", ".csv true vm "]),
        (".csv t", [".csv true "]),
        ('echo "', []),
        ("# x", []),
    ],
)
def test_literals(text: str, expected: list[str]) -> None:
    want = wanted(GRAMMAR, text)
    assert lines(want.head, want.words) == sorted(expected)


def test_an_empty_line_accepts_every_first_word() -> None:
    assert wanted(GRAMMAR, "").words == (".csv", "echo", "log", "namespace", "version", "vlans", "vm")


def test_strings_are_left_to_their_owner() -> None:
    want = wanted(GRAMMAR, "vm start w")
    assert (want.head, want.partial, want.values) == ("vm start ", "w", (("vm start <target>", "target"),))


def test_nested_strings_too() -> None:
    assert wanted(GRAMMAR, ".csv false vm start ").values == (("vm start <target>", "target"),)


@pytest.mark.parametrize(
    ("text", "around"),
    [
        ("vm start ", []),
        ("namespace foo vm start w", ["foo"]),
        (".csv true name a .csv f namespace b vm start ", ["a", "b"]),
        ("namespace fo", []),
    ],
)
def test_what_a_command_is_nested_in(text: str, around: list[str]) -> None:
    owner = "namespace <name> (command)"
    assert wanted(GRAMMAR, text).around == tuple((owner, "name", value) for value in around)


def test_the_words_of_a_list() -> None:
    assert wanted(GRAMMAR, "echo a 'b c' d").given == ("a", "b c")
    assert wanted(GRAMMAR, "echo ").given == ()


def test_directories_get_no_blank() -> None:
    assert lines("disk ", ["a/", "b c", "d e/"]) == ['disk "b c" ', 'disk "d e/" ', "disk a/"]


@pytest.mark.parametrize(
    ("text", "head"), [("vm s", "vm "), ("v", ""), ("\u3000v", "\u3000"), ("vm\techo\x1fa", "vm\t"), ("vm ", "vm ")]
)
def test_what_stays_of_the_line(text: str, head: str) -> None:
    assert wanted(GRAMMAR, text).head == head


@given(st.text(max_size=30))
def test_any_beginning_gives_an_answer(text: str) -> None:
    want = wanted(GRAMMAR, text)
    assert all(word.startswith(want.partial) for word in want.words)
