"""The group of the host whose members may use the bus and the command socket, besides root. Imports little."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from pathlib import Path

from bus.errors import InvalidError

GROUP = "MINIBUS_GROUP"
"""Environment variable: name or number of the group; without it `DEFAULT`, if there is such a group; `none`: nobody."""
DEFAULT = "minibus"
NOBODY = "none"


def group_id() -> int | None:
    """Number of the group, None if root alone is to be let in; raises InvalidError if there is no such group."""
    wanted = os.environ.get(GROUP, "")
    if wanted == NOBODY:
        return None
    if wanted.isascii() and wanted.isdecimal() and len(wanted) <= 10 and int(wanted) < 2**32 - 1:
        return int(wanted)
    try:
        return grp.getgrnam(wanted or DEFAULT).gr_gid
    except (KeyError, ValueError):
        if not wanted:
            return None
    raise InvalidError(f"there is no group `{wanted[:80]}` on this host: make it with `groupadd`, or name another")


def share(path: Path, group: int | None, *, alone: int, shared: int) -> None:
    """Give a file to root alone, with that mode, or to the group as well."""
    if group is None:
        path.chmod(alone)
        return
    path.chmod(alone)  # first: nobody of an earlier group comes in between
    os.chown(path, -1, group)
    path.chmod(shared)


def let_through(base: Path, group: int | None) -> None:
    """Let the group reach what is below a base directory that only its owner could enter."""
    mode = stat.S_IMODE(base.stat().st_mode)
    if group is not None and not mode & stat.S_IXOTH:
        with contextlib.suppress(PermissionError):  # a confined actor: the broker does it, which may
            os.chown(base, -1, group)
            base.chmod(mode | stat.S_IXGRP)


def denied(base: Path) -> str:
    """One sentence for a user who may not use the minibus of a base directory."""
    return f"user {user_name()} may not use minibus on {base}: {_advice(base)}"


def user_name() -> str:
    """Of who runs this; the number, if it has no name."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _advice(base: Path) -> str:
    group = _group_of(base)
    if group is None:
        return "only root may, since there is no group that it is shared with"
    try:
        name = grp.getgrgid(group).gr_name
    except KeyError:
        name = str(group)
    return f"ask root to add you to the group {name}"


def _group_of(base: Path) -> int | None:
    """That with which a base directory is shared, as far as this user can see it."""
    for path in (base / "bus", base):
        with contextlib.suppress(OSError):
            found = path.stat()
            return found.st_gid if found.st_mode & stat.S_IXGRP and found.st_gid else None
    return None
