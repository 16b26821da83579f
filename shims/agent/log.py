"""The agent's log: a line each, to stderr or a file, never more than one level asks for."""

from __future__ import annotations

import os
import time

LEVELS = ("debug", "info", "warn", "error", "fatal")


class Log:
    """Writes lines. What cannot be written is dropped: a full disk must not stop an agent."""

    def __init__(self, level: str = "error", fd: int | None = 2) -> None:
        self._fd = fd
        self._least = LEVELS.index(level)

    def set_level(self, level: str) -> None:
        """Raises ValueError for a level that is none of `LEVELS`."""
        self._least = LEVELS.index(level)

    def debug(self, text: str) -> None:
        """What only a developer of the agent wants to know."""
        self._write(0, text)

    def info(self, text: str) -> None:
        """What happened."""
        self._write(1, text)

    def warn(self, text: str) -> None:
        """What is worse than it should be."""
        self._write(2, text)

    def error(self, text: str) -> None:
        """What did not work."""
        self._write(3, text)

    def _write(self, level: int, text: str) -> None:
        if level < self._least or self._fd is None:
            return
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            os.write(self._fd, f"{when} {LEVELS[level]}: {text}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            return


def open_log(level: str, *, verbose: bool, path: str) -> Log:
    """The log that the flags ask for; raises OSError if the file cannot be opened, ValueError for the level."""
    if path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return Log(level, os.open(path, flags, 0o640))
    return Log(level, 2 if verbose else None)
