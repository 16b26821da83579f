"""`just docs`: writes docs/commands.md, the reference of the command language, from the declarations of the commands.

A test says when it is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from cli.commands.declare import Command, Scope
from cli.commands.registry import DOMAINS
from cli.export import shared_prefix
from cli.grammar.pattern import parse_pattern

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

TITLE = """\
# Commands

Every command of minibus, made from the same declarations as `help`, completion and `minibus -cli`.

How to read the usage lines: `word` is typed as it is, `<name>` is one word of yours, `[name]` may be left out,
`<a,b>` and `[a,b]` are choices, `...` means that more words may follow, `(command)` is any other command. Words of the
language may be abbreviated as long as only one command fits: `vm i` is `vm info`.
"""

SCOPES = {
    Scope.LOCAL: "",
    Scope.BROADCAST: "Runs on every host of the namespace.",
    Scope.TARGETED: "Runs on the hosts that have the VMs.",
    Scope.SPECIAL: "",
}


def page() -> str:
    """The whole page: a list of the chapters, then a chapter for each folder of `cli/commands/`."""
    chapters: dict[str, list[ModuleType]] = {}
    for domain in DOMAINS:
        chapters.setdefault(domain.__name__.split(".")[-2], []).append(domain)
    parts = [TITLE, *(_entry(name) for name in chapters), ""]
    for name, domains in chapters.items():
        parts.append(f"## {name}\n")
        for domain in domains:
            parts.extend(_domain(domain))
    return "\n".join(parts)


def _entry(chapter: str) -> str:
    """A line of the list at the top."""
    return f"- [{chapter}](#{chapter}): {import_module(f'cli.commands.{chapter}').__doc__}"


def _domain(domain: ModuleType) -> Iterator[str]:
    yield (domain.__doc__ or "").strip().split("\n\n")[0] + "\n"
    for prefix, commands in _by_prefix(domain.COMMANDS).items():
        yield f"### {prefix}\n"
        yield from map(_command, commands)


def _by_prefix(commands: Sequence[Command]) -> dict[str, list[Command]]:
    """Those that begin alike belong under one title, e.g. the two forms of `.csv`."""
    groups: dict[str, list[Command]] = {}
    for command in commands:
        groups.setdefault(shared_prefix([parse_pattern(text) for text in command.patterns]), []).append(command)
    return groups


def _command(command: Command) -> str:
    usages = "\n".join(parse_pattern(text).usage for text in command.patterns)
    explained = command.help_long or f"{command.help_short[:1].upper()}{command.help_short[1:]}."
    paragraphs = [f"```\n{usages}\n```", _as_markdown(explained), SCOPES[command.scope]]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _as_markdown(text: str) -> str:
    """Lines that begin with a tab are examples; what Markdown would take for markup outside them is shown as typed."""
    lines = (f"    {line[1:]}" if line.startswith("\t") else _escaped(line) for line in text.strip().split("\n"))
    return "\n".join(line.rstrip() for line in lines)


def _escaped(line: str) -> str:
    """Outside backquotes, `<`, `*` and `_` are plain characters."""
    pieces = line.split("`")
    for index in range(0, len(pieces), 2):
        for char in "<*_":
            pieces[index] = pieces[index].replace(char, f"\\{char}")
    return "`".join(pieces)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote docs/{PAGE.name}")
