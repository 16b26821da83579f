"""Programs of ours beside the executable, each of which is a module that is run: they do what needs no node."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def fill_standard_streams() -> None:
    """Put /dev/null where the caller has closed stdin, stdout or stderr: other files must not take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def become(module: str, *arguments: str) -> NoReturn:
    """Go on as that program."""
    fill_standard_streams()
    print(end="", flush=True)
    argv = _command(module, arguments)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is what we want


def run(module: str, *arguments: str) -> int:
    """Run that program to its end; gives its exit status."""
    print(end="", flush=True)
    argv = _command(module, arguments)
    _, status = os.waitpid(os.posix_spawn(argv[0], argv, os.environ), 0)
    return os.waitstatus_to_exitcode(status)


def _command(module: str, arguments: tuple[str, ...]) -> list[str]:
    # -P: whatever lies in the current directory is not ours to import.
    return [sys.executable, "-P", "-m", module, *arguments]
