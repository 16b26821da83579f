"""The base directory before anything runs on it: made, and refused where others could tamper with it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from bus.access.group import group_id, let_through
from bus.errors import DeniedError, InvalidError
from bus.paths import Context, Paths, context

MODE = 0o755
PRIVATE_MODE = 0o700
"""Of what is made in a directory that everybody may write to, such as /tmp."""


def make(base: Path) -> Paths:
    """Make the base directory and what belongs into it; gives it without symbolic links.

    Several processes may do so at once. Raises BusError or OSError if it cannot serve.
    """
    where = context(base)
    group = group_id()
    _make(where.base)
    _check(where.base)
    paths = Paths(where.base.resolve())
    for directory in (paths.run, paths.state, paths.bus, paths.log.parent):
        directory.mkdir(mode=0o700, exist_ok=True)
    _make_file_area(where)
    let_through(paths.base, group)
    return paths


def _make(base: Path) -> None:
    parent = base.parent
    with contextlib.suppress(FileExistsError):  # a file: the next step has the clearer error
        parent.mkdir(mode=MODE, parents=True, exist_ok=True)
    try:
        base.mkdir(mode=PRIVATE_MODE if _everybody_may_write(parent.stat().st_mode) else MODE)
    except FileExistsError:
        if not base.is_dir():
            raise InvalidError(f"{base} is not a directory") from None


def _check(base: Path) -> None:
    """Refuse what others made or may change: they could give root's processes files and sockets of their own."""
    if base.is_symlink() and _everybody_may_write(base.parent.stat().st_mode):
        raise DeniedError(f"{base} is a symbolic link in a directory that everybody may write to: name where it leads")
    found = base.stat()
    if found.st_uid != os.geteuid():
        raise DeniedError(f"{base} belongs to user {found.st_uid}, not to root: choose another with --base DIR")
    if _everybody_may_write(found.st_mode):
        raise DeniedError(f"{base} can be written to by everybody: choose another with --base DIR, or chmod it")


def _everybody_may_write(mode: int) -> bool:
    return bool(mode & stat.S_IWOTH)


def _make_file_area(where: Context) -> None:
    try:
        where.files_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    except FileExistsError:
        raise InvalidError(f"the file area {where.files_dir} is not a directory") from None
