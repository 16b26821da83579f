"""The base directory before anything runs on it: made, and refused where others could tamper with it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from pathlib import Path

from bus import vlan_range
from bus.errors import BusError, ConflictError, DeniedError, InvalidError
from bus.lock import holder
from bus.metrics_address import parse_address, wanted
from bus.paths import NO_ADDRESS, Context, Paths, console_address, context

MODE = 0o755
PRIVATE_MODE = 0o700
"""Of what is made in a directory that everybody may write to, such as /tmp."""


def prepare(base: Path) -> Path:
    """Make the base directory and what belongs into it; gives it without symbolic links.

    Raises BusError or OSError if it cannot serve, ConflictError if minibus runs there.
    """
    if os.geteuid() != 0:
        raise DeniedError("minibus up needs root: nobody else may make namespaces, mounts and cgroups")
    _check_console_address(console_address())
    if wanted():
        parse_address(wanted())
    vlan_range.wanted()
    where = context(base)
    _make(where.base)
    _check(where.base)
    paths = Paths(where.base.resolve())
    for directory in (paths.run, paths.state, paths.bus, paths.log.parent):
        directory.mkdir(mode=0o700, exist_ok=True)
    _make_file_area(where)
    if pid := holder(paths.run / "node.lock"):
        raise ConflictError(f"minibus is already running on {where.base} (pid {pid})")
    return paths.base


def sentence(base: Path, error: BusError | OSError) -> str:
    """Why there is no node."""
    if not isinstance(error, OSError):
        return str(error)
    return f"cannot use {base} as base directory: {error.strerror or error}"


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


def _check_console_address(address: str) -> None:
    """Say now what would otherwise show as containers without a console port."""
    if address == NO_ADDRESS:
        return
    try:
        family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((address, 0))
    except ValueError:
        raise InvalidError(f"the console address {address[:80]} is neither an IP address nor `{NO_ADDRESS}`") from None
    except OSError as error:
        raise InvalidError(f"the console address {address} cannot be used: {error.strerror}") from None
