"""Files that the server gets: found by patterns and in directories, a few under way at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shims.agent.commands.command import ENDED, Command
from shims.agent.commands.globs import Found, find
from shims.agent.line.streams import FileStream, OutStream

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

UNDER_WAY = 4
MAX_FILES = 20_000
"""The server takes no more of one command."""
MAX_UNSIZED = 1 << 20
"""Bytes in a file that says it is empty and is not, as those of /proc: it has to be kept while it is sent."""
FOUND_AT_ONCE = 100
"""Errors told in one turn of the loop."""


class UnreadableError(Exception):
    """Why a file cannot be sent; one sentence."""


def open_regular(path: bytes) -> tuple[int, os.stat_result]:
    """A descriptor of a file that can be read from beginning to end; raises UnreadableError. Never waits."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise UnreadableError(f"{_kind(status.st_mode)}, not a file")
    if status.st_size:
        return fd, status
    try:
        copy = _copy_unsized(fd)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    finally:
        os.close(fd)
    return copy, status


def _copy_unsized(fd: int) -> int:
    """A descriptor of what is in a file that has no size, such as one of /proc, as it is now."""
    content = bytearray()
    while chunk := os.read(fd, 65536):
        content += chunk
        if len(content) > MAX_UNSIZED:
            raise UnreadableError(f"it does not say its size and has more than {MAX_UNSIZED >> 20} MiB: fetch a copy")
    copy = os.memfd_create("unsized", os.MFD_CLOEXEC)
    at = 0
    while at < len(content):
        at += os.write(copy, content[at:])
    return copy


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


class Get(Command):
    """All files that match some patterns, in the order in which they are found."""

    def __init__(self, agent: Agent, message: Message) -> None:
        super().__init__(agent, int(message["serial"]))
        patterns = [text if isinstance(text, bytes) else text.encode() for text in message["patterns"]]
        self._found: Iterator[Found] = find(patterns)
        self._index = 0
        self._open: dict[int, tuple[FileStream, Message]] = {}
        self._errors = 0
        self._first_error = ""
        self._all_found = False

    def start(self) -> None:
        """Announce the first files."""
        self._go_on()

    def _go_on(self) -> None:
        """Announce more, as long as few are under way; whoever has been found by then is done with."""
        if self.state != ENDED and not self.agent.session.line.has_room:
            self.agent.loop.call_later(0.05, self._go_on)
            return
        for _ in range(FOUND_AT_ONCE):
            if self._all_found or len(self._open) >= UNDER_WAY or self.state == ENDED:
                break
            found = next(self._found, None)
            if found is None:
                self._all_found = True
            elif self._index == MAX_FILES:
                self._all_found = True
                self._count_error(f"there are more than {MAX_FILES} files: fetch an archive of them")
            else:
                self._announce(found)
        else:
            self.agent.loop.call_later(0, self._go_on)
        if self._all_found and not self._open:
            error = self._first_error if self._errors < 2 else f"{self._first_error} (and {self._errors - 1} more)"
            self.finish("failed" if self._errors else "exited", error=error)

    def _announce(self, found: Found) -> None:
        index, self._index = self._index, self._index + 1
        if found.error:
            self._file(index, found.path, 0, 0, found.error)
            return
        try:
            fd, status = open_regular(found.path)
        except UnreadableError as error:
            self._file(index, found.path, 0, 0, str(error))
            return
        size = os.fstat(fd).st_size
        stream = FileStream(
            self.serial,
            index,
            fd,
            size,
            on_sent=lambda digest: self._sent(index, digest),
            on_failed=lambda error: self._failed(index, error),
        )
        self._open[index] = (stream, self._file(index, found.path, size, stat.S_IMODE(status.st_mode), ""))

    def _file(self, index: int, path: bytes, size: int, mode: int, error: str) -> Message:
        message = {
            "type": "file",
            "serial": self.serial,
            "index": index,
            "name": as_text(os.path.abspath(path)),
            "size": size,
            "mode": mode,
            "error": error,
        }
        if error:
            self._count_error(f"{os.fsdecode(path)}: {error}")
        self.agent.session.send(message)
        return message

    def _count_error(self, error: str) -> None:
        self._errors += 1
        self._first_error = self._first_error or error

    def _sent(self, index: int, digest: str) -> None:
        self.agent.session.send({"type": "digest", "serial": self.serial, "index": index, "sha256": digest})

    def _failed(self, index: int, error: str) -> None:
        self.agent.session.send({"type": "failed", "serial": self.serial, "stream": f"file/{index}", "error": error})
        self._over(index, error)

    def _over(self, index: int, error: str = "") -> None:
        stream, message = self._open.pop(index)
        os.close(stream.fd)
        stream.hold()
        if error:
            self._count_error(f"{os.fsdecode(message['name'])}: {error}")
        self.agent.loop.call_later(0, self._go_on)

    def take(self, message: Message) -> None:
        """What the server wants, has, or cannot take."""
        stream = self.stream(message["stream"])
        if not isinstance(stream, FileStream):
            return
        if message["type"] == "failed":
            self._over(stream.index, str(message["error"]))
        elif message["type"] == "want":
            self._catch_up(stream, message)
        else:
            super().take(message)
            # Of an empty file, too: its end is acknowledged when the digest has been found right.
            if message["type"] == "ack" and int(message["offset"]) >= stream.size and stream.is_sent:
                self._over(stream.index)

    def _catch_up(self, stream: FileStream, message: Message) -> None:
        """Read what the server has already before going on, in pieces, so that all else goes on meanwhile."""
        if stream.index not in self._open:
            return
        try:
            behind = stream.catch_up(min(int(message["offset"]), stream.size))
        except OSError as error:
            self._failed(stream.index, error.strerror or str(error))
            return
        if behind:
            self.agent.loop.call_later(0, lambda: self._catch_up(stream, message))
        else:
            super().take(message)

    def resume(self) -> None:
        """Announce again what is under way."""
        for _, message in list(self._open.values()):
            self.agent.session.send(message)

    def abort(self) -> None:
        """Close what is open."""
        for stream, _ in self._open.values():
            os.close(stream.fd)
        self._open.clear()
        self._all_found = True

    def streams(self) -> list[OutStream]:
        """One for each file under way."""
        return [stream for stream, _ in self._open.values()]


def as_text(path: bytes) -> str | bytes:
    """A str if it is one."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return path
