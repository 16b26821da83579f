"""Starting one process of a base directory by hand or by a service manager, without a node."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from bus.errors import BusError
from bus.lock import holder
from bus.node.base_directory import make
from bus.settings import settings, settings_file

if TYPE_CHECKING:
    from bus.actor.base import Actor

OTHERS = ("minimega", "nuke")
"""Locks of what is no process of minibus that one would restart."""


class Held(NamedTuple):
    """A process that has its lock."""

    name: str
    pid: int


def base_from_arguments(program: str, description: str) -> Path:
    """The base directory of `--base`, `$MINIBUS_BASE`, the file of `--config` or the default; it is made if need be.

    What else the file says goes into the environment, where the process looks for it. Ends the program with a sentence
    if something of this makes no sense.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--base", default="", help="the base directory")
    parser.add_argument("--config", default="", help=f"the configuration file, e.g. {settings.FILE}")
    given = parser.parse_args()
    file = given.config or os.environ.get(settings.CONFIG, "")
    try:
        filed = settings_file.read(Path(file)) if file else {}
        held = settings.resolve({"base": given.base}, os.environ, filed, file)
        settings.export(held, os.environ)
        return make(Path(settings.value_of(held, "host.base")).absolute()).base
    except (BusError, OSError) as error:
        sys.exit(f"{program}: {error}")


def run_by_hand(actor: type[Actor]) -> NoReturn:
    """The whole of an actor's `__main__`: run it in the foreground and exit with its status."""
    base = base_from_arguments(f"python -m {actor.__module__.rpartition('.')[0]}", f"Run the actor {actor.kind}.")
    sys.exit(actor.run_process(base, None))


def held_locks(run: Path) -> tuple[Held, ...]:
    """The processes that hold a lock in `<base>/run`, by name; all that can be told where there is no node."""
    found = (Held(path.stem, holder(path)) for path in sorted(run.glob("*.lock")))
    return tuple(one for one in found if one.pid and one.name not in OTHERS)
