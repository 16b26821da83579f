"""`count`: how many lines there were so far, for each line."""

from __future__ import annotations

from collections.abc import Sequence

from tools.plumbing.lines import Parser, lines, run, say


def count(arguments: Sequence[str]) -> None:
    """Count."""
    Parser("count", description="Print 1, 2, 3 and so on, a number for each line.").parse_args(arguments)
    for number, _ in enumerate(lines(), 1):
        say(b"%d" % number)


def main() -> int:
    """The console script."""
    return run("count", count)
