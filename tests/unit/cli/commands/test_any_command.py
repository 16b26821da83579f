"""Whatever is typed, every command answers with something that can be shown; none stumbles over its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.language.ranges import fold
from cli.answers.render import encode_json, render
from cli.commands.declare import Command
from cli.commands.host.stop import ConnectionEnds
from cli.commands.registry import COMMANDS
from cli.grammar.errors import LanguageError
from cli.grammar.matcher import Match
from cli.grammar.pattern import Pattern, parse_pattern
from cli.grammar.quoting import quote
from tests.unit.cli.stand_ins import EngineBench
from tests.unit.examples import examples

ON_FILES = {"read", "write", "viz", "debug"}
"""Commands that touch files of the host themselves: what they do with odd names is looked at with real files."""
PATTERNS = [
    parse_pattern(pattern) for command in COMMANDS for pattern in command.patterns if pattern.split()[0] not in ON_FILES
]
ODD = [
    *("", " ", "all", "-1", "0", "9" * 30, "1e9", "NaN", "true", "a" * 300, "a,b,,c", "a[", "a]", "a[1-3]", "a[3-1]"),
    *("a[1-999999999]", "=", "a=b", "!~", "a!=b=c", "~", "#", "$HOME", "${", "${HOME", "$", "\\", '"', "'", "\0"),
    *("\n", "\t", "é\u202e", "\ufffd", "../..", "/", "//", "file:", "file:x", "http://", "https://[", "vm", "host"),
    *("{}", "[]", "%s", "name=", "host,name"),
]


def words_of(pattern: Pattern, data: st.DataObject, depth: int = 0) -> Iterator[str]:
    """Words that fit a pattern, some of them abbreviated, with anything at all for its strings."""
    for item in pattern.items:
        if item.is_nested:
            if depth < 3:
                yield from words_of(data.draw(st.sampled_from(PATTERNS)), data, depth + 1)
            else:
                yield "version"
        elif item.words:
            word = data.draw(st.sampled_from(item.words))
            yield word[: data.draw(st.integers(len(word) // 2, len(word)))] or word
        elif item.is_list:
            yield from data.draw(st.lists(st.sampled_from(ODD), max_size=4))
        else:
            yield data.draw(st.sampled_from(ODD) | st.text(st.characters(codec="utf-8"), max_size=6))


def touches_files(match: Match[Command] | None) -> bool:
    """Whether a command or one inside it is left out here."""
    while match is not None:
        if match.pattern.items[0].words[0] in ON_FILES:
            return True
        match = match.nested
    return False


async def answer(bench: EngineBench, line: str) -> None:
    """Run a line and show what it says; nothing behind the engine answers."""
    try:
        async with asyncio.timeout(5):
            groups = await bench.run(line)
    except ConnectionEnds:
        return
    for group in groups:
        assert isinstance(render(group, bench.session.output, fold), str)
        for response in group.responses:
            encode_json(response.to_json())
            assert "internal error" not in response.error, response.error


@pytest.mark.parametrize("rounds", [1, 4])
@settings(max_examples=examples(250))
@given(data=st.data())
def test_any_arguments_of_any_command(rounds: int, data: st.DataObject) -> None:
    """Several lines go through one session, so that what one sets is there for the next."""
    bench = EngineBench()
    for _ in range(rounds):
        pattern = data.draw(st.sampled_from(PATTERNS))
        line = " ".join(quote(word) for word in words_of(pattern, data))
        try:
            if touches_files(bench.engine.compile(line, bench.session)):
                continue
        except LanguageError:
            pass
        asyncio.run(answer(bench, line))
        assert bench.bugs == [], line
    for work in bench.spawned:
        work.close()
