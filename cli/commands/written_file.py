"""Writing a file that a user has named, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

NEW_FILE_MODE = 0o666
"""Less what the umask takes away."""


class WriteError(ValueError):
    """The file cannot be written; `str()` is one sentence."""


def write_file(path: str, content: bytes) -> str:
    """Make or replace a file; gives its absolute path. Raises WriteError, and then what was there is still there.

    A file keeps its permissions, a symbolic link leads where it led. What is no regular file (`/dev/null`, a terminal)
    is written to as it is; a named pipe that nobody reads is an error, as there is no telling when somebody will.
    """
    if not path:
        raise WriteError("the name of the file is empty")
    try:
        target = Path(os.path.realpath(path))
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode):
            _write(os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), content)
        else:
            _replace(target, content, mode)
        return str(target)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise WriteError(f"open {path[:200]}: {reason[:1].lower()}{reason[1:]}") from error


def written_text(path: str, written: str) -> str:
    """What to tell a user: nothing, unless the name that was given is relative to a directory that he may not know."""
    return "" if Path(path).is_absolute() else f"written to {written}"


def _mode(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _replace(target: Path, content: bytes, mode: int | None) -> None:
    new = target.with_name(f".minibus-{secrets.token_hex(8)}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, NEW_FILE_MODE)
        if mode is not None:
            os.fchmod(fd, stat.S_IMODE(mode))
        _write(fd, content)
        new.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _write(fd: int, content: bytes) -> None:
    """Write all of it and close."""
    with os.fdopen(fd, "wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            written = file.write(rest)
            if written is None:
                raise BlockingIOError("nobody reads it")
            rest = rest[written:]
