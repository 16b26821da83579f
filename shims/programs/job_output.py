"""What a job writes: two named pipes that outlive whoever reads them, and the last part of each in files.

The job holds its pipes for reading as well, so that it never finds them broken: while nobody reads, it stands still as
soon as a pipe is full, and goes on when somebody opens the pipe again by its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from typing import Final

from shims.programs.process import PipeReader

STREAMS: Final = ("stdout", "stderr")
SEGMENT: Final = 4 * 1024 * 1024
"""Bytes of one file; the last two of each stream are kept, so a job's output takes at most four times as much."""


class Segments:
    """A stream in files `<name>.0`, `<name>.1` and so on, of which the last two are kept."""

    def __init__(self, directory: str, name: str, segment: int = SEGMENT) -> None:
        self._prefix = os.path.join(directory, name)
        self._segment = segment
        self._fd = -1
        self._size = 0
        self._number = max(_numbers(directory, name), default=0)

    def append(self, data: bytes) -> None:
        """Write; raises OSError."""
        if self._fd < 0:
            self._open()
        if self._size >= self._segment:
            self.close()
            self._number += 1
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._prefix}.{self._number - 2}")
            self._open()
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(f"{self._prefix}.{self._number}", flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read(directory: str, name: str) -> tuple[bytes, bool]:
    """The kept part of a stream, and whether something before it is lost; nothing if nothing was written."""
    parts = []
    numbers = sorted(_numbers(directory, name))
    for number in numbers:
        with contextlib.suppress(FileNotFoundError), open(os.path.join(directory, f"{name}.{number}"), "rb") as file:
            parts.append(file.read())
    return b"".join(parts), bool(numbers) and numbers[0] > 0


def _numbers(directory: str, name: str) -> list[int]:
    try:
        entries = os.listdir(directory)
    except FileNotFoundError:
        return []
    stems = (entry.partition(".") for entry in entries)
    return [int(number) for stem, _, number in stems if stem == name and number.isdecimal()]


class JobOutput:
    """The output of one job: its pipes are read from the loop for as long as anybody writes to them."""

    def __init__(
        self,
        directory: str,
        *,
        on_lost: Callable[[OSError], None],
        on_end: Callable[[str], None],
        segment: int = SEGMENT,
    ) -> None:
        """`on_end` is told which stream nobody writes to any more.

        `on_lost` is told, once, why output cannot be written down; the job goes on, its output is dropped.
        """
        self._directory = directory
        self._on_lost = on_lost
        self._on_end = on_end
        self._segment = segment
        self._readers: dict[str, PipeReader] = {}
        self._files: dict[str, Segments] = {}

    def create(self) -> tuple[int, int]:
        """Make directory and pipes, start reading, and give the ends for the job; raises OSError, with nothing left.

        The caller closes the two once the job has them.
        """
        fds: list[int] = []
        try:
            os.makedirs(self._directory, mode=0o700)
            for name in STREAMS:
                path = self._pipe(name)
                os.mkfifo(path, 0o600)
                fds.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
                self._read_from(name, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            for fd in fds:
                os.close(fd)
            self.remove()
            raise
        return fds[0], fds[1]

    def resume(self, stored: dict[str, int]) -> None:
        """Read on: from descriptors that somebody kept, by stream, or else by the name of the pipe."""
        for name in STREAMS:
            fd = stored.pop(name, -1)
            if fd < 0:
                try:
                    fd = os.open(self._pipe(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                except OSError as error:
                    self._on_lost(error)
                    continue
            self._read_from(name, fd)
            # poll(2) does not tell of the end of a pipe to which nobody has written since it was opened; read(2) does.
            self._readers[name].drain()

    def descriptors(self) -> dict[str, int]:
        """The reading ends by stream, for somebody to keep copies of."""
        return {name: reader.fd for name, reader in self._readers.items() if not reader.closed}

    def drain(self) -> None:
        """Take in what lies in the pipes now."""
        for reader in self._readers.values():
            reader.drain()

    def close(self) -> None:
        """Stop reading; what is written down stays."""
        for reader in self._readers.values():
            reader.close()
        for file in self._files.values():
            file.close()

    def remove(self) -> None:
        """Stop reading, and forget all of it."""
        self.close()
        remove(self._directory)

    def _pipe(self, name: str) -> str:
        return os.path.join(self._directory, f"{name}.pipe")

    def _read_from(self, name: str, fd: int) -> None:
        file = self._files[name] = Segments(self._directory, name, self._segment)
        self._readers[name] = PipeReader(fd, lambda data: self._take(file, data), lambda: self._ended(name))

    def _ended(self, name: str) -> None:
        self._files[name].close()
        self._on_end(name)

    def _take(self, file: Segments, data: bytes) -> bool:
        try:
            file.append(data)
        except OSError as error:
            on_lost, self._on_lost = self._on_lost, lambda error: None
            on_lost(error)
        return False


def remove(directory: str) -> None:
    """Remove the output of a job that nobody reads any more; harmless when there is none."""
    shutil.rmtree(directory, ignore_errors=True)
