"""`delay`: each line after a while, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cli.answers.duration import parse_duration
from tools.plumbing.lines import Parser, PlumbingError, lines, run, say


def delay(arguments: Sequence[str]) -> None:
    """Wait, then pass on."""
    parser = Parser("delay", description="Print each line after a while; the next one waits until then.")
    parser.add_argument("-t", default="1.0s", metavar="DURATION", help="such as 200ms or 1m30s (1.0s)")
    options = parser.parse_args(arguments)
    try:
        seconds = parse_duration(options.t)
    except ValueError as error:
        raise PlumbingError(str(error)) from None
    for line in lines():
        time.sleep(max(0.0, seconds))
        say(line)


def main() -> int:
    """The console script."""
    return run("delay", delay)
