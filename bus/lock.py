"""A file lock that says who holds it and vanishes with its holder (flock(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from bus.errors import ConflictError


class FileLock:
    """Held until `release` or the end of the process. The file stays, holding the pid of the last owner."""

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock; raises ConflictError naming `what` and the holder, OSError if the file cannot be made."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            where = path.parent.parent
            raise ConflictError(f"{what} is already running on {where} (pid {holder or 'unknown'})") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(path: Path) -> int:
    """Pid of the process that holds the lock now, 0 if nobody does."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            return int(text) if text.isdecimal() else 0
        finally:
            os.close(fd)
    return 0
