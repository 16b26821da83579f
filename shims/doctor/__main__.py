"""Tells what this host can do and how many guests fit.

    python -m shims.doctor BASE [--json] [--expect GUESTS] [--memory MIB] [--interfaces NUMBER] [...]

Needs nothing that runs. The exit status is 0 if containers can run here, otherwise 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from typing import Final

import msgspec

from shims.doctor import report
from shims.doctor.capacity import EXPECTED, TASKS, Guest
from shims.doctor.examine import examine

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
_TERMINATED: Final = 143
"""As a shell reports programs that a signal ended."""


def main(arguments: list[str]) -> int:
    """Look, print, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m shims.doctor", description="Tells what this host can do.")
    parser.add_argument("base", help="the base directory, which need not exist")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--expect", type=int, default=EXPECTED, help="guests that there should be room for")
    parser.add_argument("--memory", type=int, default=0, help="MiB that each guest uses; 0 for an idle one")
    parser.add_argument("--interfaces", type=int, default=0, help="of each guest")
    parser.add_argument("--processes", type=int, default=TASKS, help="of each guest")
    parser.add_argument("--watchers", type=int, default=0, help="processes of each guest that watch files")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # what was made for trying goes first
    guest = Guest(
        memory_mib=given.memory,
        interfaces=given.interfaces,
        processes=given.processes,
        watchers=given.watchers,
    )
    found = examine(os.path.abspath(given.base), guest, given.expect)
    if given.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        is_terminal = sys.stdout.isatty()
        colours = is_terminal and not os.environ.get("NO_COLOR")  # no-color.org
        columns = shutil.get_terminal_size().columns if is_terminal else 0
        sys.stdout.write(report.text(found, colours=colours, columns=columns))
    sys.stdout.flush()
    return 0 if found.ready else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the interpreter's last flush
        if isinstance(error, BrokenPipeError):
            sys.exit(_PIPE_CLOSED)
        sys.stderr.write(f"minibus: the doctor has failed: {error}\n")
        sys.exit(1)
