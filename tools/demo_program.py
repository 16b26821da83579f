"""Runs the `minibus` executable for the demo, as a user would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MINIBUS = Path(sys.prefix) / "bin" / "minibus"
PATIENCE_S = 30.0
"""How long a program that is under way may still run after Ctrl-C: half-done work is harder to clean up."""


class DemoError(Exception):
    """Something the demo needs did not work; `str()` is one sentence."""


class Output(NamedTuple):
    """What a program left."""

    status: int
    out: str
    err: str


async def run_program(arguments: Sequence[str], timeout_s: float) -> Output:
    """Run a program to its end. It does not see the terminal's Ctrl-C; if this task is cancelled, it may finish first.

    Raises DemoError if it cannot be started or takes too long.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
        )
    except OSError as error:
        raise DemoError(f"cannot run {arguments[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        await _kill(process)
        raise DemoError(f"`{spoken(arguments)}` has not ended within {timeout_s:g} s") from None
    except asyncio.CancelledError:
        await _let_finish(process)
        raise
    return Output(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


async def _let_finish(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()
    except TimeoutError:
        await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def minibus(base: Path, *words: str, timeout_s: float = 60.0) -> str:
    """What `minibus SUBCOMMAND --base BASE ...` prints; raises DemoError with its own sentence if it fails."""
    subcommand, *rest = words
    arguments = [str(MINIBUS), subcommand, "--base", str(base), *rest]
    output = await run_program(arguments, timeout_s)
    if output.status != 0:
        raise DemoError(reason(words, output))
    return output.out.rstrip("\n")


def reason(words: Sequence[str], output: Output) -> str:
    """One sentence for a `minibus` command that failed: the last that it said."""
    said = (output.err.strip() or output.out.strip()).splitlines()
    last = said[-1].removeprefix("minibus: ") if said else f"exit status {output.status}"
    return f"`minibus {' '.join(words)}`: {last}"


def spoken(arguments: Sequence[str]) -> str:
    """A command line as a user would name it."""
    return " ".join([Path(arguments[0]).name, *arguments[1:]])
