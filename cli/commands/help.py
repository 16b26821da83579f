"""The texts of `help`, made from the declarations alone."""

from __future__ import annotations

from collections.abc import Sequence

from cli.commands.declare import Command
from cli.grammar.nearest import nearest_patterns
from cli.grammar.pattern import Pattern, parse_pattern

TAB = 8
SHOWN_INPUT = 200
"""Characters of what nobody can be helped with that the error repeats."""
LIST_TITLE = "Display help on a command. Here is a list of commands:"


def help_text(commands: Sequence[Command], words: Sequence[str]) -> str:
    """Help on the commands that agree with the most leading words; the list of all if there are no words.

    Empty if nothing agrees.
    """
    if not words:
        return _list(commands)
    depths = {command: max(_agreement(parse_pattern(text), words) for text in command.patterns) for command in commands}
    deepest = max(depths.values(), default=(0, 0))
    if deepest[0] == 0:
        return ""
    found = [command for command in commands if depths[command] == deepest]
    explained = [command for command in found if command.help_long]
    if len(found) == 1 or len(explained) == 1:
        return _usage(found, (explained or found)[0])
    named = [command.help_long for command in explained if _is_named(command, words)]
    return "\n\n".join([_list(found), *named])


def _is_named(command: Command, words: Sequence[str]) -> bool:
    """Whether the words are all of the command, as in `help vm config`, and not the beginning of others alone."""
    patterns = map(parse_pattern, command.patterns)
    return any(_agreement(pattern, words) == (len(pattern.items), len(words)) for pattern in patterns)


def no_help(commands: Sequence[Command], words: Sequence[str]) -> str:
    """That there is no such command, and what may have been meant."""
    sentence = f"no such command: `{' '.join(words)[:SHOWN_INPUT]}`"
    nearest = nearest_patterns([parse_pattern(text) for command in commands for text in command.patterns], (), words)
    quoted = [f"`{usage}`" for usage in nearest]
    shown = " or ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))
    return f"{sentence}: did you mean {shown}?" if quoted else sentence


def _agreement(pattern: Pattern, words: Sequence[str]) -> tuple[int, int]:
    """How many leading words fit this pattern, abbreviated or not, and how many of them are spelled out.

    So `vm config init` is not taken for `vm config initrd` as well.
    """
    fitting = exact = 0
    for item, word in zip(pattern.items, words, strict=False):
        if item.words and not any(word and option.startswith(word) for option in item.words):
            break
        fitting += 1
        exact += word in item.words
    return fitting, exact


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
