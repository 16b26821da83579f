"""`minibus nuke`: give up on a base directory. The work is done by another program, which needs nothing that runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from cli.arguments import UsageError
from cli.attach import is_terminal

PROGRAM = "shims.nuke"


def nuke(base: Path, *, is_sure: bool) -> int:
    """Ask whoever types, unless he `is_sure`, and become the program that does it. Raises UsageError, OSError."""
    if not is_sure:
        if not is_terminal():
            raise UsageError("nuke needs --yes where it cannot ask")
        print(f"This kills all guests of {base} and forgets everything but its files and logs.")
        print("`minibus down --guests` is the orderly way, if minibus still starts.")
        try:
            answer = input("Type yes to go on: ")
        except EOFError:
            answer = ""
        if answer.strip() != "yes":
            print("Nothing was done.")
            return 1
    return _become(base)


def _become(base: Path) -> NoReturn:
    print(end="", flush=True)
    # -P: whatever lies in the current directory is not ours to import.
    argv = [sys.executable, "-P", "-m", PROGRAM, str(base)]
    os.execv(argv[0], argv)  # noqa: S606 - no shell is what we want
