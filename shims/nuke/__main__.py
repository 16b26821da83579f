"""Gives up on a base directory, and tells what was done.

python -m shims.nuke BASE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bus.errors import BusError
from shims.nuke.nuke import Nuke


def main(arguments: list[str]) -> int:
    """Run it and tell what was done; returns the exit status: 0 if nothing is left."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m shims.nuke BASE\n")
        return 2
    try:
        nuke = Nuke(Path(arguments[0]))
        nuke.run()
    except (BusError, OSError) as error:
        sys.stderr.write(f"minibus: {error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in nuke.done or ["there was nothing to remove"])
    left = [*nuke.problems, *(f"still there: {what}" for what in nuke.left())]
    sys.stderr.writelines(f"minibus: {line}\n" for line in left)
    if not left:
        kept = "files, log and keys" if _has_keys(nuke.base) else "files and log"
        sys.stdout.write(f"nothing of minibus is left on {nuke.base}; its {kept} stay\n")
    return 1 if left else 0


def _has_keys(base: Path) -> bool:
    """Whether there are keys of clients: they open the next minibus here, which whoever gives up has to know."""
    try:
        return any(name.endswith(".toml") for name in os.listdir(base / "keys"))
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
