"""docs/commands.md says what the commands say."""

from __future__ import annotations

from cli.commands.registry import COMMANDS
from cli.grammar.pattern import parse_pattern
from tools.commands_page import PAGE, page


def test_the_page_is_up_to_date() -> None:
    """It is generated as a whole."""
    assert PAGE.read_text() == page(), "run `just docs`"


def test_every_pattern_is_in_it() -> None:
    """As a usage line of its own."""
    lines = set(PAGE.read_text().splitlines())
    usages = {parse_pattern(text).usage for command in COMMANDS for text in command.patterns}
    assert usages - lines == set()
