"""A wall clock of its own for one minibus, which jumps as an operator or a time server can make the host's jump."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
YEAR_S = 365 * 86400


class WallClock:
    """`jump` moves it for all processes that were started inside `kept_by_all`."""

    def __init__(self, directory: Path) -> None:
        """Compile the library that shows it, in `directory`."""
        self._library = directory / "clock.so"
        self._offset = directory / "offset"
        self._set(0)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", self._library, SOURCE], check=True, timeout=60
        )
        self._offset_s = 0

    def jump(self, seconds: int) -> None:
        """By so much, from one moment to the next; negative into the past."""
        self._offset_s += seconds
        self._set(self._offset_s)

    @contextmanager
    def kept_by_all(self) -> Iterator[None]:
        """Programs that are started meanwhile, and their children, keep this time."""
        variables = {"LD_PRELOAD": str(self._library), "DRILL_CLOCK": str(self._offset)}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                del os.environ[name]

    def _set(self, seconds: int) -> None:
        fd = os.open(self._offset, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, struct.pack("=q", seconds), 0)
        finally:
            os.close(fd)
