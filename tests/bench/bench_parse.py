"""How many commands are understood in a second, against splitting the same lines with `shlex`.

Splitting is the least that any command language does; to find out which of hundreds of commands is meant, and with what
values, may cost three times as much on top.
"""

from __future__ import annotations

import shlex
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from cli.commands.registry import COMMANDS
from cli.grammar.lexer import lex
from cli.grammar.matcher import Grammar
from tests.bench.machine import progress
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

LINES = (
    "vm info",
    "vm info summary",
    "vm config memory 2048",
    "vm config net LAN,00:00:00:11:22:33 DMZ",
    "vm config filesystem /images/rootfs",
    "vm config init /bin/sh -c 'sleep 1000'",
    "vm config tags role web",
    "vm launch container web[1-100]",
    "vm start all",
    "vm tag web[1-3,7] role database",
    "vm kill web1,web2",
    "vm flush",
    "clear vm config",
    "namespace experiment vm info",
    ".columns name,state .filter state=running vm info",
    ".csv true .headers false .annotate false .columns name,uuid vm info",
    'echo "a \\"quoted\\" word" and \\#more',
    "ns queueing true",
    "host",
    "vm i",
    "history",
    "version",
)
"""What scripts and clients send; one of them is abbreviated."""
BLOCK = 50
"""How often the lines are taken for one measurement."""
ROUNDS = 7
ROW = Budget(name="parse", unit="commands/s", limit=0.25, direction=">=")


def parse() -> Mapping[str, Measured]:
    """Medians of alternating rounds, so that a slow moment of the machine hits both."""
    grammar = Grammar((pattern, command) for command in COMMANDS for pattern in command.patterns)

    def understand(line: str) -> None:
        grammar.parse(lex(line).words, line)

    for line in LINES:
        understand(line)
        if not shlex.split(line):
            raise UnavailableError(f"shlex splits `{line}` into nothing")
    pairs = [(_rate(understand, LINES), _rate(shlex.split, LINES)) for _ in range(ROUNDS)]
    value, reference = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    progress(f"one command: {1e6 / value:.0f} us")
    return {ROW.name: Measured(value=value, reference=reference)}


def _rate(take: Callable[[str], object], lines: Sequence[str]) -> float:
    begin = time.perf_counter()
    for _ in range(BLOCK):
        for line in lines:
            take(line)
    return BLOCK * len(lines) / (time.perf_counter() - begin)


BENCHMARK = Benchmark(rows=(ROW,), run=parse)
