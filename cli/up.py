"""`minibus up`: becomes the node of a base directory, in the foreground or detached."""

from __future__ import annotations

import importlib
import os
import stat
import sys
from pathlib import Path

from bus.errors import BusError, DeniedError, InvalidError
from bus.lock import holder
from bus.paths import DURABLE, Paths, context

EXIT_FAILED = 1


def up(base: Path, *, detach: bool, durable: bool = False) -> int:
    """Start everything; returns the exit status when it has ended, or with `detach` when every actor is ready.

    With `durable` nothing is answered before the disk has it.
    """
    if durable:
        os.environ[DURABLE] = "1"
    try:
        base = _prepare_base(base)
    except (BusError, OSError) as error:
        return _fail(_sentence(base, error))
    return _detached(base) if detach else _foreground(base)


def _prepare_base(base: Path) -> Path:
    """Make the base directory; raises BusError or OSError if it cannot serve."""
    if os.geteuid() != 0:
        raise DeniedError("minibus up needs root: nobody else may make namespaces, mounts and cgroups")
    base = context(base).base
    try:
        base.mkdir(mode=0o755, parents=True, exist_ok=True)
    except FileExistsError:
        raise InvalidError(f"{base} is not a directory") from None
    found = base.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidError(f"{base} is not a directory")
    if found.st_uid != os.geteuid():
        raise DeniedError(f"{base} belongs to user {found.st_uid}, not to root: choose another with --base DIR")
    paths = Paths(base.resolve())
    for directory in (paths.run, paths.state, paths.bus, paths.log.parent):
        directory.mkdir(mode=0o700, exist_ok=True)
    paths.files.mkdir(mode=0o755, exist_ok=True)
    if pid := holder(paths.run / "node.lock"):
        raise InvalidError(f"minibus is already running on {base} (pid {pid})")
    return paths.base


def _run_node(base: Path, ready_fd: int) -> tuple[int, str]:
    from bus.node import Node  # after the checks that most failures end in

    roster = importlib.import_module("actors.roster")
    node = Node(base, roster.ROSTER, ready_fd=ready_fd)
    roster.prepare_node()
    return node.run(), node.failure


def _foreground(base: Path) -> int:
    try:
        status, failure = _run_node(base, os.dup(2))
    except (BusError, OSError) as error:
        return _fail(_sentence(base, error))
    return _fail(failure) if failure else status


def _detached(base: Path) -> int:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        os._exit(_be_detached(base, writable))
    os.close(writable)
    with os.fdopen(readable) as pipe:
        said = pipe.read().strip()
    if said == "ready":
        return 0
    os.waitpid(pid, 0)
    return _fail(f"{said or 'the node ended before it was ready'} (more in {Paths(base).log})")


def _be_detached(base: Path, ready_fd: int) -> int:
    os.setsid()
    os.chdir("/")
    try:
        log = os.open(Paths(base).log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        for number, fd in ((0, null), (1, log), (2, log)):
            os.dup2(fd, number)
        os.close(log)
        os.close(null)
        status, _ = _run_node(base, ready_fd)
    except (BusError, OSError) as error:
        os.write(ready_fd, _sentence(base, error).encode())
        return EXIT_FAILED
    return status


def _sentence(base: Path, error: BusError | OSError) -> str:
    """Why there is no node."""
    if not isinstance(error, OSError):
        return str(error)
    return f"cannot use {base} as base directory: {error.strerror or error}"


def _fail(message: str) -> int:
    sys.stderr.write(f"minibus: {message}\n")
    return EXIT_FAILED
