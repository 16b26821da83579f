"""What the plumbing programs share: lines in, lines out at once, one sentence and status 1 if something is wrong."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes, as a pipe carries them."""


class PlumbingError(Exception):
    """The program cannot go on; `str()` is one sentence."""


class Parser(argparse.ArgumentParser):
    """Options in the manner of Go, `-name value` or `-name=value`; a wrong one raises PlumbingError."""

    def error(self, message: str) -> NoReturn:
        """Instead of printing the usage."""
        raise PlumbingError(message)


def lines() -> Iterator[bytes]:
    """Each line of stdin without its newline; raises PlumbingError if one is too long."""
    while line := sys.stdin.buffer.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise PlumbingError(f"a line is longer than {MAX_LINE} bytes")
        yield line.removesuffix(b"\n")


def say(line: bytes) -> None:
    """Write a line, and let nobody wait for it."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def run(name: str, work: Callable[[list[str]], None]) -> int:
    """Run a program with its arguments; returns the exit status."""
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # end silently, as programs in C do
    try:
        work(sys.argv[1:])
    except (PlumbingError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0
