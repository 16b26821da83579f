"""Starting one process of a base directory by hand, without a node."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from bus.actor import Actor
from bus.paths import DEFAULT_BASE


def base_from_arguments(program: str, description: str) -> Path:
    """The base directory of `--base`, `$MINIBUS_BASE` or the default."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--base", type=Path, default=Path(os.environ.get("MINIBUS_BASE") or DEFAULT_BASE))
    base: Path = parser.parse_args().base
    return base.absolute()


def run_by_hand(actor: type[Actor]) -> NoReturn:
    """The whole of an actor's `__main__`: run it in the foreground and exit with its status."""
    base = base_from_arguments(f"python -m {actor.__module__.rpartition('.')[0]}", f"Run the actor {actor.kind}.")
    sys.exit(actor.run_process(base, None))
