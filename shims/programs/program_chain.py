"""Programs in a row, each reading what the one before it writes, with ends for us at both sides.

Between two programs is an ordinary pipe(7): the kernel holds back who is too fast, hands on the end of file, and tells
who writes for nobody (SIGPIPE). Only what enters the row and what leaves it passes through this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shims.linux.process import start_ticks
from shims.programs import process, process_tree
from shims.programs.process import CHUNK, NotStartedError, PipeReader, Started
from shims.programs.process_tree import Tree

KEPT_STDERR: Final = 8192
"""Bytes of the end of what a program writes to standard error."""
NICENESS: Final = 10
"""Of programs in pipelines, which may run in circles for ever: who gives commands comes first (setpriority(2))."""


def is_program(name: str, env: Mapping[str, str]) -> bool:
    """Whether this can be executed: found in the PATH of `env`, or an executable file if it is a path."""
    if "/" in name:
        return os.path.isfile(name) and os.access(name, os.X_OK)
    with contextlib.suppress(NotStartedError, ValueError):  # ValueError: a NUL byte
        return bool(process.find_program(name, env))
    return False


class Tail:
    """The end of what was written."""

    def __init__(self, size: int = KEPT_STDERR) -> None:
        self._kept = bytearray()
        self._size = size

    def take(self, data: bytes) -> bool:
        """Keep the end of it; False, since nobody waits for more."""
        self._kept += data
        del self._kept[: -self._size]
        return False

    @property
    def text(self) -> str:
        """What is kept, without the half of a character that it may begin with."""
        return self._kept.decode("utf-8", "replace").lstrip("\ufffd")


class ReadEnd:
    """Our end of a pipe that a program writes."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd

    async def read(self) -> bytes:
        """What is there, at most 64 KiB; waits for some; empty at the end."""
        while self.fd >= 0:
            try:
                return os.read(self.fd, CHUNK)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _ready(self.fd, loop.add_reader, loop.remove_reader)
        return b""

    def close(self) -> None:
        """Who writes finds the pipe broken; harmless when repeated, and only while nobody reads."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class WriteEnd:
    """Our end of a pipe that a program reads."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd

    async def write(self, data: bytes) -> None:
        """Write all of it, waiting for room; raises BrokenPipeError if nobody reads any more."""
        rest = memoryview(data)
        while rest:
            if self.fd < 0:
                raise BrokenPipeError
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _ready(self.fd, loop.add_writer, loop.remove_writer)

    def close(self) -> None:
        """Who reads comes to the end; harmless when repeated, and only while nobody writes."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


async def _ready(fd: int, add: Callable[[int, Callable[[], None]], object], remove: Callable[[int], object]) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class ChainProgram:
    """One program of a row."""

    def __init__(self, started: Started, stderr_fd: int, mark: str) -> None:
        self.pid = started.pid
        self.exit_status: int | None = None
        """Negative: the number of the signal that ended it."""
        self.ended = asyncio.Event()
        self.tree = Tree(mark, self.pid, start_ticks(self.pid))
        self._started = started
        self._stderr = Tail()
        self._reader = PipeReader(stderr_fd, self._stderr.take)
        self._pidfd = os.pidfd_open(self.pid)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self.pid, NICENESS)

    @property
    def stderr(self) -> str:
        """The end of what it wrote there."""
        return self._stderr.text

    @property
    def silent(self) -> bool:
        """Nobody can write to its standard error any more."""
        return self._reader.closed

    async def wait(self) -> None:
        """Wait for its end and take note of how it was."""
        if self.exit_status is None:
            await process.wait_for_end(self._pidfd)
            self.note_end()

    def note_end(self) -> None:
        """Reap it; it must have ended."""
        if self.exit_status is None:
            self.exit_status = self._started.wait()
            os.close(self._pidfd)
            self._reader.drain()
            self.ended.set()

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.exit_status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.note_end()

    def close(self) -> None:
        """Listen no more; whoever still holds its standard error writes for nobody."""
        self._reader.close()


class Chain:
    """See the module."""

    def __init__(self, argvs: Sequence[Sequence[str]], env: Mapping[str, str], *, fed: bool, read: bool) -> None:
        """Start all of them, or none: raises NotStartedError.

        The mark of `process_tree` in `env` is theirs. If not `fed`, the first has nothing to read; if not `read`,
        what the last one says is thrown away.
        """
        self.programs: list[ChainProgram] = []
        self.stdin: WriteEnd | None = None
        self.stdout: ReadEnd | None = None
        for argv in argvs:
            process.find_program(argv[0], env)
        source = -1
        try:
            if fed:
                source, fd = os.pipe2(os.O_CLOEXEC)
                self.stdin = WriteEnd(fd)
            for at, argv in enumerate(argvs):
                given, source = source, -1
                source = self._start(argv, env, given, piped=read or at + 1 < len(argvs))
            if read:
                self.stdout, source = ReadEnd(source), -1
        except (NotStartedError, OSError) as error:
            self.abandon()
            if isinstance(error, OSError):
                raise NotStartedError(f"cannot start a program: {error.strerror}") from error
            raise
        finally:
            if source >= 0:
                os.close(source)

    def _start(self, argv: Sequence[str], env: Mapping[str, str], source: int, *, piped: bool) -> int:
        """Start one that reads `source`, which is closed here; the end at which its output can be read, or -1."""
        fds: list[int] = [source] if source >= 0 else []
        out = -1
        try:
            stderr, stderr_write = os.pipe2(os.O_CLOEXEC)
            fds.append(stderr_write)
            try:
                sink = subprocess.DEVNULL
                if piped:
                    out, sink = os.pipe2(os.O_CLOEXEC)
                    fds.append(sink)
                stdin = source if source >= 0 else subprocess.DEVNULL
                started = process.start(argv, env, stdin=stdin, stdout=sink, stderr=stderr_write)
            except BaseException:
                os.close(stderr)
                if out >= 0:
                    os.close(out)
                raise
        finally:
            for fd in fds:
                os.close(fd)
        self.programs.append(ChainProgram(started, stderr, env.get(process_tree.MARK, "")))
        return out

    def abandon(self) -> None:
        """End all of it at once."""
        for program in self.programs:
            program.kill()
        self.close()

    def close(self) -> None:
        """Let go of all its pipes."""
        for end in (self.stdin, self.stdout):
            if end is not None:
                end.close()
        for program in self.programs:
            program.close()
