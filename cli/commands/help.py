"""The texts of `help`, made from the declarations alone."""

from __future__ import annotations

from collections.abc import Sequence

from cli.commands.declare import Command
from cli.grammar.pattern import Pattern, parse_pattern

TAB = 8
LIST_TITLE = "Display help on a command. Here is a list of commands:"


def help_text(commands: Sequence[Command], words: Sequence[str]) -> str:
    """Help on the commands that agree with the most leading words; the list of all if there are no words.

    Empty if nothing agrees.
    """
    if not words:
        return _list(commands)
    depths = {command: max(_agreement(parse_pattern(text), words) for text in command.patterns) for command in commands}
    deepest = max(depths.values(), default=0)
    if deepest == 0:
        return ""
    found = [command for command in commands if depths[command] == deepest]
    explained = [command for command in found if command.help_long]
    if len(found) == 1 or len(explained) == 1:
        return _usage(found, (explained or found)[0])
    return _list(found)


def _agreement(pattern: Pattern, words: Sequence[str]) -> int:
    """How many leading words are this pattern's literals or options, abbreviated or not, or its strings."""
    count = 0
    for item, word in zip(pattern.items, words, strict=False):
        if item.words and not any(word and option.startswith(word) for option in item.words):
            break
        count += 1
    return count


def _usage(commands: Sequence[Command], explained: Command) -> str:
    usages = [f"\t{parse_pattern(text).usage}" for command in commands for text in command.patterns]
    return "\n".join(["Usage:", *usages, "", explained.help_long or explained.help_short])


def _list(commands: Sequence[Command]) -> str:
    entries = sorted((text, command.help_short) for command in commands for text in command.patterns)
    width = max(len(text) + 1 for text, _ in entries)
    lines = (f"{_padded(f'{text} ', width)}{_padded(' :', len(' :'))} {summary}" for text, summary in entries)
    return "\n".join([LIST_TITLE, *lines])


def _padded(cell: str, width: int) -> str:
    """Tabs after the cell, to the next multiple of eight that holds the widest."""
    stop = -(-width // TAB) * TAB
    return cell + "\t" * -(-(stop - len(cell)) // TAB)
