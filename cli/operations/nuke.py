"""`minibus nuke`: give up on a base directory. The work is done by another program, which needs nothing that runs."""

from __future__ import annotations

from pathlib import Path

from cli.arguments import UsageError
from cli.operations.programs import become
from cli.prompt.attach import is_terminal

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
    become(PROGRAM, str(base))
