"""Where the agent keeps its files, so that only one agent of a guest runs and others find it."""

from __future__ import annotations

import fcntl
import os
import stat
import time

from shims.agent import platform_linux

PID, SOCKET, FILES, UUID = "miniccc.pid", "miniccc", "files", "miniccc.uuid"


LOCK_S = 1.0


class AlreadyRunningError(Exception):
    """Another agent serves this guest; one sentence."""


def candidates(path: str, uuid: str) -> list[str]:
    """Directories in the order in which they are tried.

    Two containers on the same root share these paths, so each has one with its UUID to fall back on.
    """
    paths = list(dict.fromkeys([path, *platform_linux.PLACES]))
    return [place for base in paths for place in (base, f"{base}-{uuid}")]


class Place:
    """A directory that this agent alone uses. `directory` is empty if there is none; `close` gives it up."""

    def __init__(self, directory: str, fd: int) -> None:
        self.directory, self._fd = directory, fd

    def path(self, name: str) -> str:
        """Of something in it; empty if there is no directory."""
        return os.path.join(self.directory, name) if self.directory else ""

    def close(self) -> None:
        """Remove what says that an agent runs."""
        if self._fd >= 0:
            os.unlink(self.path(PID))
            os.close(self._fd)
            self._fd = -1


def take_place(path: str, uuid: str) -> tuple[Place, list[str]]:
    """The first directory that can be used, and why the others cannot. Raises AlreadyRunningError."""
    reasons: list[str] = []
    for directory in candidates(path, uuid):
        try:
            return Place(directory, _take(directory, uuid)), reasons
        except OSError as error:
            reasons.append(f"{directory}: {error.strerror}")
    return Place("", -1), reasons


def _take(directory: str, uuid: str) -> int:
    """The descriptor of a locked pid file."""
    if not os.path.isdir(directory):
        os.makedirs(directory, 0o755)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise OSError(0, "it is not a directory of this user")  # who made it could make the agent write elsewhere
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(os.path.join(directory, PID), flags, 0o644)
    if not _lock(fd):
        pid, owner = os.read(fd, 20).decode("ascii", "replace"), _owner(directory)
        os.close(fd)
        if owner not in ("", uuid):
            raise OSError(0, f"it belongs to the agent of {owner}") from None
        raise AlreadyRunningError(f"an agent serves this guest already: process {pid}, in {directory}") from None
    try:
        if os.stat(os.path.join(directory, PID)).st_ino != os.fstat(fd).st_ino:
            raise OSError(0, "another agent has just ended there")
        _write(os.path.join(directory, UUID), uuid)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> bool:
    """A killed agent may have been starting a program, and that one lets go only when it is."""
    deadline_s = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        else:
            return True


def _owner(directory: str) -> str:
    try:
        with open(os.path.join(directory, UUID), encoding="ascii") as file:
            return file.read(100).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
