"""`minibus ps` ends, whatever it waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest

HANGS = """
import signal, sys, threading
from pathlib import Path
from cli.looking import patience, ps
from cli.place import Place

def hang(*ignored):
    while True:
        threading.Event().wait(60)

{hook}
patience.PATIENCE_S = 0.2
patience.GRACE_S = {grace}
sys.exit(ps.ps(Place(Path("/nonexistent")), as_json=False))
"""
UNENDING = """
ps.asyncio.run = hang
patience.Patience._wait = lambda self: None
"""


def ended(hook: str, grace: int = 30) -> tuple[int, str]:
    """Exit status and error output of a `ps` in which something hangs."""
    code = HANGS.format(hook=hook, grace=grace)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("hook", "stage"),
    [
        ("ps.connected = hang", "it connected"),
        ("ps._without_broker = hang", "it looked at processes that the broker cannot tell of"),
    ],
)
def test_it_says_where_it_gave_up(hook: str, stage: str) -> None:
    assert ended(hook) == (1, f"minibus: no answer within 0.2 s, gave up while {stage}\n")


def test_the_kernel_ends_what_cannot_end_itself() -> None:
    assert ended(UNENDING, grace=1) == (-14, "")


def test_what_answers_is_left_alone() -> None:
    assert ended("") == (
        1,
        "minibus: minibus is not running on /nonexistent: start it with `minibus up --base /nonexistent`\n",
    )
