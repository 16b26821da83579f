"""What tests of users' programs share: commands about jobs, and processes looked up by their arguments."""

from __future__ import annotations

from typing import Any

import psutil

from tests.system.product import Console, until


def one(console: Console, line: str) -> dict[str, Any]:
    """The only response to a command."""
    (response,) = console.command(line)
    return response


def job(console: Console, number: int) -> dict[str, str]:
    """The row of a job."""
    (row,) = console.rows(f"background-status {number}")
    return row


def begin(console: Console, command: str) -> int:
    """Start a job; its number."""
    text = console.ok(f"background {command}")
    assert text.startswith("Started background process with id "), text
    return int(text.rpartition(" ")[2])


def ended(console: Console, number: int) -> dict[str, str]:
    """Wait for a job's end; its row."""
    until(lambda: job(console, number)["running"] == "false", f"the end of job {number}")
    return job(console, number)


def processes_with(argument: str) -> list[psutil.Process]:
    """Processes that have exactly this among their arguments."""
    return [process for process in psutil.process_iter(["cmdline"]) if argument in (process.info["cmdline"] or ())]
