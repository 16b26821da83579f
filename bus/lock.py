"""A file lock that says who holds it and vanishes with its holder (flock(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from bus.errors import ConflictError

MOMENT_S = 0.05
"""`holder` takes the lock for a moment to see whether it is free."""
RETRY_S = 0.01


class FileLock:
    """Held until `release` or the end of the process. The file stays, holding the pid of the last owner."""

    def __init__(self, path: Path, what: str, *, wait_s: float = MOMENT_S) -> None:
        """Take the lock, waiting at most `wait_s` for it.

        Raises ConflictError naming `what` and the holder, OSError if the file cannot be made.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._taken(time.monotonic() + wait_s):
            pid = _owner(self._fd)
            os.close(self._fd)
            where = path.parent.parent
            raise ConflictError(f"{what} is already running on {where} (pid {pid or 'unknown'})")
        line = f"{os.getpid()}\n".encode()
        os.pwrite(self._fd, line, 0)  # before the cut: whoever looks in between finds a pid, never nothing
        os.ftruncate(self._fd, len(line))

    def _taken(self, until_s: float) -> bool:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    return False
                time.sleep(RETRY_S)

    def release(self) -> None:
        """Let go; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _owner(fd: int) -> int:
    first = os.pread(fd, 32, 0).partition(b"\n")[0]
    return int(first) if first.isdigit() else 0


def holder(path: Path) -> int:
    """Pid of the process that holds the lock now, 0 if nobody does."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _owner(fd)
        finally:
            os.close(fd)
    return 0
