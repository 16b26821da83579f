"""`normal`: a sample of a normal distribution for each line, which is its mean."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from tools.plumbing.lines import Parser, PlumbingError, lines, run, say


def number(text: str) -> float:
    """A finite decimal number; raises PlumbingError."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or "_" in text:
        raise PlumbingError(f"not a number: {text[:80]!r}")
    return found


def shortest(value: float) -> bytes:
    """The fewest digits that mean this number."""
    return (str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)).encode()


def normal(arguments: Sequence[str]) -> None:
    """Read means, write samples."""
    parser = Parser("normal", description="For each line, a number, print a sample of a normal distribution around it.")
    parser.add_argument("-stddev", default="0", metavar="F", help="standard deviation (0)")
    parser.add_argument("-seed", type=int, metavar="N", help="the same seed gives the same samples")
    options = parser.parse_args(arguments)
    stddev = number(options.stddev)
    if stddev < 0:
        raise PlumbingError(f"the standard deviation cannot be negative: {options.stddev}")
    source = random.Random(options.seed)  # noqa: S311 - no secret
    for line in lines():
        say(shortest(source.gauss(number(line.decode("utf-8", "replace").strip()), stddev)))


def main() -> int:
    """The console script."""
    return run("normal", normal)
