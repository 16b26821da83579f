"""Files that commands write for their users: whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import stat
from pathlib import Path

from cli.commands.declare import CommandError, Engine


def report_path(engine: Engine, name: str) -> Path:
    """Where a file is to be written: below the file area, unless its path is absolute; raises CommandError."""
    if not name or "\0" in name:
        raise CommandError("the name of a file is missing")
    return engine.files_dir / name


async def probe(path: Path) -> None:
    """Find out whether a file could be written, and leave nothing; raises CommandError with the reason."""
    await asyncio.to_thread(_write, path, b"", False)


async def write(path: Path, content: bytes) -> None:
    """Write a file, in the place of one that is there; raises CommandError with the reason if that is not possible."""
    await asyncio.to_thread(_write, path, content, True)


def _write(path: Path, content: bytes, keep: bool) -> None:
    try:
        target = path.resolve()
        _check(path, target)
        temporary = target.parent / f".{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
            if keep:
                temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle, before Python 3.13
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "too many levels of symbolic links"
        )
        raise CommandError(f"open {path}: {reason.lower()}") from error


def _check(path: Path, target: Path) -> None:
    """Refuse to put a file in the place of something else."""
    if not target.exists():
        return
    mode = target.stat().st_mode
    if stat.S_ISDIR(mode):
        raise CommandError(f"open {path}: is a directory")
    if not stat.S_ISREG(mode):
        raise CommandError(f"open {path}: is not a regular file")
