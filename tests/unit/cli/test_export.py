"""The machine-readable grammar, as generators of bindings read it."""

from __future__ import annotations

import json

from cli.commands.declare import Command
from cli.commands.registry import COMMANDS
from cli.export import describe, grammar_json


def test_items_carry_the_bit_masks_that_generators_know() -> None:
    """1 optional, 2 literal, 4 nested, 8 string, 16 choice, 32 list; empty keys and options are left out."""
    patterns = ("vm tag <target vm> [key or all]", "vm tag <a,b> (command)", "vm tag <x,> [more]...")
    described = describe(Command(patterns=patterns, help_short="short", help_long="long"))
    assert described["shared_prefix"] == "vm tag"
    assert described["patterns"] == list(patterns)
    assert [items[2:] for items in described["parsed_patterns"]] == [
        [{"type": 8, "key": "target", "text": "target vm"}, {"type": 9, "key": "key", "text": "key or all"}],
        [{"type": 16, "text": "a,b", "options": ["a", "b"]}, {"type": 4, "key": "command", "text": "command"}],
        [{"type": 16, "text": "x,", "options": ["x"]}, {"type": 33, "key": "more", "text": "more"}],
    ]
    assert described["parsed_patterns"][0][0] == {"type": 2, "text": "vm"}


def test_every_command_is_there() -> None:
    """One entry for each declaration, on one line."""
    text = grammar_json()
    entries = json.loads(text)
    assert "\n" not in text
    assert [entry["patterns"] for entry in entries] == [list(command.patterns) for command in COMMANDS]
    assert all(entry["help_short"] for entry in entries)
