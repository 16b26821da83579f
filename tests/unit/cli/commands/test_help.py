from __future__ import annotations

import re

import pytest

from bus.language.netspec import parse_all
from cli.commands.declare import Command
from cli.commands.help import LIST_TITLE, help_text, no_help
from cli.commands.registry import COMMANDS
from cli.grammar.lexer import lex
from cli.grammar.matcher import Grammar
from tests.unit.cli.stand_ins import EngineBench

ONE = Command(patterns=("vm config init [value]...",), help_short="configure init", help_long="Long\ninit.")
TWO = Command(patterns=("vm config initrd [value]",), help_short="configure initrd")
PIPES = (
    Command(patterns=("pipe", "pipe <pipe>"), help_short="write to pipes", help_long="All about pipes."),
    Command(patterns=("pipe <pipe> <mode,> <all,round-robin>",), help_short="set the mode"),
)
PIPE_USAGE = "`pipe`, `pipe <pipe>` or `pipe <pipe> mode <all,round-robin>`"
SET = (*PIPES, TWO, ONE, Command(patterns=("clear log <level,>",), help_short="reset"))


def test_one_command() -> None:
    assert help_text(SET, ["vm", "config", "init"]) == "Usage:\n\tvm config init [value]...\n\nLong\ninit."
    assert help_text(SET, ["vm", "config", "initr", "x"]) == "Usage:\n\tvm config initrd [value]\n\nconfigure initrd"
    assert help_text(SET, ["cl"]) == "Usage:\n\tclear log level\n\nreset"


def test_several_of_which_one_explains_itself() -> None:
    assert help_text(SET, ["pipe"]) == (
        "Usage:\n\tpipe\n\tpipe <pipe>\n\tpipe <pipe> mode <all,round-robin>\n\nAll about pipes."
    )


def test_the_list_has_tabs_to_multiples_of_eight() -> None:
    assert help_text(SET, []) == "\n".join(
        [
            LIST_TITLE,
            "clear log <level,> \t\t\t :\t reset",
            "pipe \t\t\t\t\t :\t write to pipes",
            "pipe <pipe> \t\t\t\t :\t write to pipes",
            "pipe <pipe> <mode,> <all,round-robin> \t :\t set the mode",
            "vm config init [value]... \t\t :\t configure init",
            "vm config initrd [value] \t\t :\t configure initrd",
        ]
    )


def test_several_that_explain_themselves() -> None:
    shown = help_text((*SET, Command(patterns=("vm tag",), help_short="", help_long="Tags.")), ["vm"])
    assert [line.split(" \t")[0] for line in shown.split("\n")[1:]] == [
        "vm config init [value]...",
        "vm config initrd [value]",
        "vm tag",
    ]


def test_one_whose_name_is_the_beginning_of_others() -> None:
    whole = Command(patterns=("vm config",), help_short="show all", help_long="All of it.")
    found = (ONE, Command(patterns=("vm config memory [value]",), help_short="memory", help_long="In MiB."), whole)
    shown = help_text(found, ["vm", "config"])
    assert shown.startswith(f"{LIST_TITLE}\nvm config \t")
    assert shown.endswith("\t :\t memory\n\nAll of it.")
    assert help_text(found, ["vm", "conf"]) == help_text(found, ["vm"]) == shown.removesuffix("\n\nAll of it.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bogus"], "no such command: `bogus`"),
        (["", "x"], "no such command: ` x`"),
        (["pip", "x"], ""),
        (["cleer", "x"], "no such command: `cleer x`: did you mean `clear log level`?"),
        (["pype"], f"no such command: `pype`: did you mean {PIPE_USAGE}?"),
        (["z" * 1000], f"no such command: `{'z' * 200}`"),
    ],
)
def test_what_there_is_no_help_on(words: list[str], sentence: str) -> None:
    assert bool(help_text(SET, words)) is not bool(sentence)
    if sentence:
        assert no_help(SET, words) == sentence


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("help clear n", ["help clear namespace "]),
        ("help vm sta", ["help vm start "]),
        (".csv true help hist", [".csv true help history "]),
        ("help version ", []),
        ("help namespace x vi", ["help namespace x viz "]),
    ],
)
async def test_completion(line: str, expected: list[str]) -> None:
    bench = EngineBench()
    assert await bench.engine.suggest(line, bench.session) == expected


async def test_completion_of_nothing_offers_every_command() -> None:
    bench = EngineBench()
    offered = await bench.engine.suggest("help ", bench.session)
    assert {"help clear ", "help vm ", "help .csv "} <= set(offered)


def test_every_long_help_fits_a_terminal() -> None:
    wide = {line for command in COMMANDS for line in command.help_long.split("\n") if len(line.expandtabs()) > 100}
    assert wide == set()


GRAMMAR = Grammar((pattern, command) for command in COMMANDS for pattern in command.patterns)
NOUNS = {command.patterns[0].split()[0] for command in COMMANDS} - {"clear"}


def examples() -> list[str]:
    """The commands that helps show, without what explains them; names of files and directories are no commands."""
    lines = [line for command in COMMANDS for line in command.help_long.splitlines()]
    found = (re.split(r"\s{2,}", line[1:])[0] for line in lines if re.match(r"\t\S", line))
    return sorted({line for line in found if " " in line and line.split()[0] in NOUNS})


def test_examples_are_commands() -> None:
    shown = examples()
    assert len(shown) > 50
    for line in shown:
        GRAMMAR.parse(list(lex(line).words))


def test_netspecs_of_the_help_are_such() -> None:
    shown = [line for line in examples() if line.startswith("vm config net ")]
    assert len(shown) > 5
    for line in shown:
        parse_all(line.split()[3:])
