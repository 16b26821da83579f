"""The command language as JSON, for programs that make references and bindings from it. Needs no running server."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec

from cli.commands.declare import Command
from cli.commands.registry import COMMANDS
from cli.grammar.pattern import Item, Pattern, parse_pattern


def grammar_json() -> str:
    """All commands as one JSON array on one line."""
    return msgspec.json.encode([describe(command) for command in COMMANDS]).decode()


def describe(command: Command) -> dict[str, Any]:
    """One command: its help, its patterns as declared, and the same taken apart.

    The `type` of an item is a bit mask: 1 optional, 2 literal, 4 nested command, 8 string, 16 choice, 32 list.
    """
    patterns = [parse_pattern(text) for text in command.patterns]
    return {
        "help_short": command.help_short,
        "help_long": command.help_long,
        "patterns": list(command.patterns),
        "shared_prefix": shared_prefix(patterns),
        "parsed_patterns": [[_item(item) for item in pattern.items] for pattern in patterns],
    }


def shared_prefix(patterns: Sequence[Pattern]) -> str:
    """The leading literals that all patterns have in common, e.g. `vm tag`."""
    columns = zip(*map(_leading_literals, patterns), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns))


def _leading_literals(pattern: Pattern) -> list[str]:
    return [item.text for item in takewhile(lambda item: item.is_literal, pattern.items)]


def _item(item: Item) -> dict[str, Any]:
    described: dict[str, Any] = {"type": int(item.type)}
    if item.key:
        described["key"] = item.key
    described["text"] = item.text
    if item.options:
        described["options"] = list(item.options)
    return described
