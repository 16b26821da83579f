"""Files that commands write for their users: in the file area, whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from pathlib import Path

from cli.commands.declare import CommandError, Engine
from cli.commands.written_file import WriteError, write_file


def report_path(engine: Engine, name: str) -> Path:
    """Where a file is to be written: below the file area, unless its path is absolute; raises CommandError."""
    if not name or "\0" in name:
        raise CommandError("the name of the file is empty or has a NUL character in it")
    return engine.files_dir / name


async def probe(path: Path) -> None:
    """Find out whether a file could be written, and leave nothing; raises CommandError with the reason."""
    try:
        await asyncio.to_thread(_probe, path)
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or str(error)).lower()}") from error


async def write(path: Path, content: bytes) -> None:
    """Write a file, in the place of one that is there; raises CommandError with the reason if that is not possible."""
    try:
        await asyncio.to_thread(write_file, str(path), content)
    except WriteError as error:
        raise CommandError(str(error)) from error


def _probe(path: Path) -> None:
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISREG(mode):
        beside = target.with_name(f".minibus-{secrets.token_hex(8)}")
        beside.touch(exist_ok=False)
        beside.unlink()
