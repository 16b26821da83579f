"""Patterns that clash, and that the product has none."""

from __future__ import annotations

import pytest

from cli.commands.registry import COMMANDS
from cli.grammar.conflicts import conflicts


def test_no_two_commands_of_the_product_clash() -> None:
    """A clash would make one of them unreachable."""
    assert conflicts([pattern for command in COMMANDS for pattern in command.patterns]) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("vm tag <target> [key]", "vm tag <vm> [tag]"),
        ("a <b,c>", "a <c,d>"),
        ("a <b,>", "a b"),
        ("a", "a [x]"),
        ("a [x]", "a [y,z]"),
        ("a <x>", "a <y>..."),
        ("a (command)", "a (nested)"),
    ],
)
def test_two_that_match_the_same_words_are_named(first: str, second: str) -> None:
    """Both patterns stand in the message."""
    assert conflicts([first, second]) == [f"ambiguous patterns: `{first}` and `{second}`"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a b", "a c"),
        ("a <x>", "a b"),
        ("a", "a <x>"),
        ("a <x>", "a <x> <y>"),
        ("a [true,false]", "a <true,false> (command)"),
        ("a <b,>", "a <c,>"),
    ],
)
def test_two_that_can_be_told_apart_are_fine(first: str, second: str) -> None:
    """By a word, or by their length."""
    assert conflicts([first, second]) == []


def test_the_same_twice_is_a_duplicate() -> None:
    """Said once."""
    assert conflicts(["a <x>", "a <x>"]) == ["duplicate pattern: `a <x>`"]
