"""The one place that starts users' programs: found in PATH, in a session of their own, watched by pidfd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from bus import descriptors

CHUNK: Final = 65_536
"""Bytes: what a pipe holds (pipe(7))."""
PAUSE_S: Final = 0.005
"""After a full chunk of which nothing is kept: whoever floods a pipe must not keep the whole process busy."""
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOWHERE: Final = subprocess.DEVNULL
NEW_PIPE: Final = subprocess.PIPE
"""For `start`: the other end is an attribute of what has started, and closed when this process ends."""

Started = subprocess.Popen[bytes]
"""A program that runs: `pid`, and `wait` for its status once it has ended."""


class NotStartedError(Exception):
    """The program did not start; `str()` is one sentence. `missing` if there is no such program."""

    def __init__(self, sentence: str, *, missing: bool = False) -> None:
        super().__init__(sentence)
        self.missing = missing


class Outcome(NamedTuple):
    """What a program said and how it ended."""

    stdout: bytes
    stderr: bytes
    exit_status: int
    """Negative: the number of the signal that ended it."""
    truncated: bool
    """It said more than was to be kept."""


def offer_own_programs() -> None:
    """From now on programs are also found beside this Python, where ours are installed, after all others."""
    path = os.environ.get("PATH", DEFAULT_PATH)
    directory = os.path.dirname(sys.executable)
    if directory not in path.split(os.pathsep):
        os.environ["PATH"] = f"{path}{os.pathsep}{directory}"


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `changes` laid over it; an empty value removes a variable."""
    return {name: value for name, value in {**os.environ, **changes}.items() if value}


def find_program(name: str, env: Mapping[str, str]) -> str:
    """The path of a program, as execvp(3) would find it in the PATH of `env`; raises NotStartedError."""
    if "/" in name:
        return name
    # An empty entry means the working directory, which is nobody's choice here.
    path = os.pathsep.join(filter(None, env.get("PATH", DEFAULT_PATH).split(os.pathsep)))
    found = shutil.which(name, path=path) if name and path else None
    if found is None:
        raise NotStartedError(f'exec: "{_shown(name)}": executable file not found in $PATH', missing=True)
    return found


def start(
    argv: Sequence[str], env: Mapping[str, str], *, stdout: int, stderr: int, stdin: int = subprocess.DEVNULL
) -> Started:
    """Start a program as the leader of a new session, by default with nothing to read; raises NotStartedError.

    `env` is its whole environment. The working directory is this process's own.
    """
    path = find_program(argv[0], env)
    try:
        program = subprocess.Popen(
            argv,
            executable=path,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL byte
        raise NotStartedError(*_refusal(path, error)) from error
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if (limit := descriptors.limit_before()) is not None:
            # Afterwards and from outside: code of ours between fork and exec would rule out vfork(2).
            resource.prlimit(program.pid, resource.RLIMIT_NOFILE, limit)
    return program


def _refusal(path: str, error: OSError | ValueError) -> tuple[str]:
    if not isinstance(error, OSError):
        return (f"fork/exec {_shown(path)}: {error}",)
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError) and _is_directory(path):
        reason = "is a directory"
    return (f"fork/exec {_shown(path)}: {reason[:1].lower()}{reason[1:]}",)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


def _shown(name: str, longest: int = 200) -> str:
    return name if len(name) <= longest else f"{name[:longest]}..."


async def wait_for_end(pidfd: int) -> None:
    """Return once the process has ended, reaped or not (pidfd_open(2))."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)


class PipeReader:
    """Reads a pipe on the loop until its end, giving what comes to `take`, which says whether it wants more at once.

    `close` may come at any time. The descriptor becomes the reader's own.
    """

    def __init__(self, fd: int, take: Callable[[bytes], bool], on_end: Callable[[], None] = lambda: None) -> None:
        self.fd = fd
        self._take = take
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    @property
    def closed(self) -> bool:
        """Nothing more will come."""
        return self.fd < 0

    def _next(self) -> bytes:
        """What is there now; empty if nothing is, or if nothing will be any more."""
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            self.close()
            self._on_end()
        return data

    def _read(self) -> None:
        data = self._next()
        if data and not self._take(data) and len(data) == CHUNK:
            self._loop.remove_reader(self.fd)
            self._pause = self._loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self.fd, self._read)

    def drain(self) -> None:
        """Read what is there now, at most what the pipe held; a writer that goes on is not waited for."""
        for _ in range(2):
            if self.closed or not (data := self._next()):
                return
            self._take(data)

    def close(self) -> None:
        """Stop reading; harmless when repeated."""
        if self.closed:
            return
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._loop.remove_reader(self.fd)
        os.close(self.fd)
        self.fd = -1


class Capture:
    """The first bytes of what a program says on both its streams."""

    def __init__(self, limit: int) -> None:
        self.kept = (bytearray(), bytearray())
        self.truncated = False
        self._room = limit

    def take(self, stream: int, data: bytes) -> bool:
        """Keep what there is room for."""
        part = data[: self._room]
        self.kept[stream].extend(part)
        self._room -= len(part)
        self.truncated = self.truncated or len(part) < len(data)
        return not self.truncated


@contextlib.contextmanager
def _holding(data: bytes) -> Iterator[int]:
    """Something to read these bytes from: a file in memory, which no program can keep us waiting with."""
    if not data:
        yield subprocess.DEVNULL
        return
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


class Program:
    """A program that is run to its end, its output captured.

    It has ended when its own process has: children that live on lose their output, and are not waited for.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], limit: int, stdin: bytes = b"") -> None:
        """Start it; of all it says the first `limit` bytes are kept. Raises NotStartedError."""
        self._capture = Capture(limit)
        fds: list[int] = []
        try:
            fds += os.pipe2(os.O_CLOEXEC)
            fds += os.pipe2(os.O_CLOEXEC)
            with _holding(stdin) as source:
                self._process = start(argv, env, stdout=fds[1], stderr=fds[3], stdin=source)
        except (NotStartedError, OSError) as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, OSError):
                raise NotStartedError(f"cannot start {_shown(argv[0])}: {error.strerror}") from error
            raise
        os.close(fds[1])
        os.close(fds[3])
        self._pidfd = os.pidfd_open(self.pid)  # in one of the two places that have just become free
        self._readers = (
            PipeReader(fds[0], lambda data: self._capture.take(0, data)),
            PipeReader(fds[2], lambda data: self._capture.take(1, data)),
        )

    @property
    def pid(self) -> int:
        """Of the program, also of its session."""
        return self._process.pid

    async def outcome(self) -> Outcome:
        """Wait for its end. Cancelled, it lets go of the program, which then finds its pipes broken."""
        try:
            await wait_for_end(self._pidfd)
            for reader in self._readers:
                reader.drain()
        finally:
            os.close(self._pidfd)
            for reader in self._readers:
                reader.close()
        stdout, stderr = (bytes(part) for part in self._capture.kept)
        return Outcome(stdout, stderr, self._process.wait(), self._capture.truncated)

    def kill(self) -> None:
        """End it and what it started, at once, after `outcome` was cancelled."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
