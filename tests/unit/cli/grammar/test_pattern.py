from __future__ import annotations

import pytest

from cli.grammar.pattern import PatternError, parse_pattern


@pytest.mark.parametrize(
    ("text", "types", "usage"),
    [
        ("version", [2], "version"),
        ("vm tag <target> [key or all]", [2, 2, 8, 9], "vm tag <target> [key or all]"),
        ("vm config append [arg]...", [2, 2, 2, 33], "vm config append [arg]..."),
        ("shell <command>...", [2, 32], "shell <command>..."),
        (".csv <true,false> (command)", [2, 16, 4], ".csv <true,false> (command)"),
        (".csv [true,false]", [2, 17], ".csv [true,false]"),
        ("debug <cpu,> <start,> <file>", [2, 16, 16, 8], "debug cpu start <file>"),
        ("read <file> [check,]", [2, 8, 17], "read <file> [check,]"),
        (".columns <columns as csv> (command)", [2, 8, 4], ".columns <columns as csv> (command)"),
    ],
)
def test_items_and_usage(text: str, types: list[int], usage: str) -> None:
    pattern = parse_pattern(text)
    assert [int(item.type) for item in pattern.items] == types
    assert pattern.usage == usage


def test_the_key_is_the_first_word_in_the_brackets() -> None:
    assert [item.key for item in parse_pattern("vm <vm target> [key or all]").items] == ["", "vm", "key"]


@pytest.mark.parametrize(
    "text",
    ["", "  ", 'echo "x"', "a <b", "a [b] c", "a <b>... c", "a (b) c", "<a <b>>", "a ()", "a <b>x", "a <b,b>", "a <,>"],
)
def test_wrong_declarations_are_refused(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)
