"""Starting programs and seeing them end, without a shell and without help of what a guest may lack."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR

from shims.agent import platform_linux
from shims.agent.loop import Loop

_IGNORED_HERE = [signal.SIGPIPE]
_HANDLED_HERE = [signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
OnExit = Callable[[int], None]
"""Called with the wait status, as os.waitstatus_to_exitcode gives it: negative for a signal."""


class SpawnError(Exception):
    """Why a program could not be started; one sentence."""


def find_program(name: bytes, directories: list[bytes]) -> bytes:
    """The path that `name` means: itself if it has a slash, else the first executable file in `directories`.

    Raises SpawnError.
    """
    if b"\0" in name:
        raise SpawnError("the name of a program cannot contain a NUL byte")
    if b"/" in name:
        return name
    not_executable = b""
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            is_file = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:
            continue
        if is_file and os.access(path, os.X_OK):
            return path
        if is_file and not not_executable:
            not_executable = path
    if not_executable:
        raise SpawnError(f"{os.fsdecode(not_executable)} is not executable")
    where = b":".join(directories)
    raise SpawnError(f"{os.fsdecode(name)}: command not found in {os.fsdecode(where)}")


def search_path(files: str) -> list[bytes]:
    """Where programs are looked for: PATH, then where files are put."""
    directories = os.fsencode(os.environ.get("PATH") or platform_linux.DEFAULT_SEARCH).split(b":")
    return [*filter(None, directories), *([os.fsencode(files)] if files else [])]


def spawn(argv: list[bytes], path: bytes, stdin: int, stdout: int, stderr: int) -> int:
    """The pid of a new program in a session of its own. The descriptors stay open here. Raises SpawnError."""
    environment = dict(os.environb)
    environment.setdefault(b"PATH", platform_linux.DEFAULT_SEARCH.encode())
    fds = (stdin, stdout, stderr)
    # All are above 2 (see `keep_standard_descriptors`), so no step overwrites what a later one copies.
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
    try:
        return os.posix_spawn(
            path,
            argv,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_IGNORED_HERE + _HANDLED_HERE,
        )
    except OSError as error:
        raise SpawnError(_why(os.fsdecode(path), error)) from None
    except ValueError:
        raise SpawnError("a word of a command cannot contain a NUL byte") from None


def _why(path: str, error: OSError) -> str:
    if error.errno in (ENOENT, ENOTDIR) and os.path.exists(path):
        return f"{path} cannot be run: the program named in its first line, or its loader, is missing"
    if error.errno == ENOENT:
        return f"{path}: command not found"
    if error.errno == ENOEXEC:
        return f"{path} is neither a program for this machine nor a script that begins with #!"
    if error.errno == EACCES and os.path.isdir(path):
        return f"{path} is a directory"
    if error.errno == EACCES and not os.access(path, os.X_OK):
        return f"{path} is not executable"
    return f"{path}: {error.strerror}"


def keep_standard_descriptors() -> None:
    """Occupy 0, 1 and 2 where they are closed, so that no pipe gets such a number."""
    while True:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        low = [fd for fd in (reading, writing) if fd <= 2]
        for fd in (reading, writing):
            if fd not in low:
                os.close(fd)
        if not low:
            return


class Processes:
    """The programs started here. None is reaped before it is released, so that its number stays its own."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._on_exit: dict[int, OnExit] = {}
        self._unreaped: set[int] = set()
        self._is_init = os.getpid() == 1

    def watch(self, pid: int, on_exit: OnExit) -> None:
        """Call once when it has ended."""
        self._on_exit[pid] = on_exit
        self._unreaped.add(pid)
        self.look()  # it may have ended before anybody watched

    def release(self, pid: int) -> None:
        """Of an ended one nothing is needed any more."""
        if pid in self._unreaped:
            self._unreaped.discard(pid)
            os.waitpid(pid, 0)

    def look(self) -> None:
        """After a SIGCHLD: who has ended?"""
        for pid in list(self._on_exit):
            result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if result is not None:
                exited = result.si_code == os.CLD_EXITED
                self._on_exit.pop(pid)(result.si_status if exited else -result.si_status)
        if self._is_init:
            self._reap_orphans()

    def _reap_orphans(self) -> None:
        """As process 1 of a guest: those that nobody waits for."""
        for pid in platform_linux.children():
            if pid not in self._unreaped:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue


def signal_group(pid: int, number: int) -> bool:
    """Send a signal to the process group of one of our programs; False if nobody is left in it."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
