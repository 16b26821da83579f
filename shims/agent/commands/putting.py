"""Files that the guest gets: each grows under another name, and takes its place when it is whole and right."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from errno import EISDIR, ENOENT
from typing import TYPE_CHECKING, Any

from shims.agent.commands.command import ENDED, RUNNING, Command
from shims.agent.line.wire import sendable

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

UNDER_WAY = 4
PARTIAL = b".partial"
DIRECTORY_MODE = 0o770
_DIGEST_BYTES = 4 * 1024 * 1024
_MAX_MODE = 0o7777


class PutError(Exception):
    """Why a file cannot be put in its place; one sentence."""


def place_of(name: str | bytes, directory: str) -> bytes:
    """Where a file of this name goes; raises PutError for a name that leads elsewhere."""
    raw = name if isinstance(name, bytes) else name.encode()
    parts = raw.split(b"/")
    if not raw or b"\0" in raw or any(part in (b"", b".", b"..") for part in parts):
        raise PutError(f"`{os.fsdecode(raw)}` is no name of a file below {directory}")
    return os.path.join(os.fsencode(directory), raw)


class Incoming:
    """One file on its way into the guest."""

    def __init__(self, index: int, entry: Message, directory: str) -> None:
        self.index = index
        self.size, self.sha256 = int(entry["size"]), str(entry["sha256"])
        self._mode = int(entry["mode"]) & _MAX_MODE
        self.path = place_of(entry["name"], directory)
        self._partial = self.path + PARTIAL
        self._fd = -1
        self._digest = hashlib.sha256()
        self.offset = 0
        """Bytes that are there and counted in the digest."""
        self._reused = 0
        """Of these from an earlier part, which may be of another file."""
        self._is_whole = False
        """`_fd` is the file in its place, not a part."""
        self.is_ready = False
        """It is known from where on data is wanted."""

    def open(self) -> None:
        """Raises OSError, PutError."""
        os.makedirs(os.path.dirname(self.path), DIRECTORY_MODE, exist_ok=True)
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(status.st_mode):
                raise OSError(EISDIR, "there is a directory of this name")
            if stat.S_ISREG(status.st_mode) and status.st_size == self.size:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
                self._reused, self._is_whole = self.size, True
                return
        self._open_partial()

    def _open_partial(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self._partial, flags, 0o600)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise PutError(f"{os.fsdecode(self._partial)} is in the way: it is no file")
        self._digest, self.offset, self._is_whole = hashlib.sha256(), 0, False
        self._reused = status.st_size if status.st_size <= self.size else 0
        if status.st_size > self.size:
            os.ftruncate(self._fd, 0)
        free = os.fstatvfs(self._fd)
        if self.size - self._reused > free.f_bavail * free.f_frsize and free.f_blocks:
            raise PutError(f"No space left on device: it has {self.size} bytes and there is room for fewer")

    def catch_up(self) -> bool:
        """Digest a piece of what is there; True when that is done. Raises OSError, PutError."""
        if self.offset < self._reused:
            data = os.pread(self._fd, min(_DIGEST_BYTES, self._reused - self.offset), self.offset)
            self._digest.update(data)
            self.offset += len(data)
            if not data:
                self._reused = self.offset
            return False
        is_right = self.offset == self.size and self._digest.hexdigest() == self.sha256
        if is_right or (self.offset < self.size and not self._is_whole):
            if self._is_whole:
                os.fchmod(self._fd, self._mode)
            self.is_ready = True
            return True
        self.remove()  # another file of that size
        self._open_partial()
        return False

    def write(self, offset: int, data: bytes) -> None:
        """More of it; raises OSError, PutError. What is there already is skipped."""
        if offset > self.offset or offset + len(data) > self.size:
            raise PutError(f"bytes came that were not asked for, at {offset}")
        data = data[self.offset - offset :]
        while data:
            written = os.pwrite(self._fd, data, self.offset)
            self._digest.update(data[:written])
            self.offset += written
            data = data[written:]

    @property
    def is_in_place(self) -> bool:
        """Nothing is left to do."""
        return self._is_whole and self.is_ready

    def settle(self) -> bool:
        """All bytes are there: put it in its place. False if they are not the right ones and it begins anew.

        Raises OSError, PutError.
        """
        if self._digest.hexdigest() == self.sha256:
            os.fchmod(self._fd, self._mode)
            os.rename(self._partial, self.path)
            self._is_whole = True
            return True
        had_old = self._reused > 0
        self.remove()
        if not had_old:
            raise PutError("what arrived is not what was sent: it has changed meanwhile")
        self._open_partial()
        return False

    def close(self) -> None:
        """A part stays, for the next time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """With the part."""
        self.close()
        if not self._is_whole:
            try:
                os.unlink(self._partial)
            except OSError as error:
                if error.errno != ENOENT:
                    raise


class Put(Command):
    """Files from the server, in one list or several that follow each other."""

    def __init__(self, agent: Agent, message: Message) -> None:
        super().__init__(agent, int(message["serial"]))
        self._waiting: deque[tuple[int, Message]] = deque()
        self._open: dict[int, Incoming] = {}
        self._errors = 0
        self._first_error = ""
        self.is_listed = False
        """The list of files has come to its end."""
        self.extend(message)

    def extend(self, message: Message) -> None:
        """More files."""
        first = int(message.get("first", 0))
        for index, entry in enumerate(message["files"], first):
            if not isinstance(entry, dict):
                raise TypeError("a file is a map")
            self._waiting.append((index, entry))
        self.is_listed = not message.get("more", False)
        if self.state == RUNNING:
            self._go_on()

    def start(self) -> None:
        """Ask for the first files."""
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and len(self._open) < UNDER_WAY and self.state != ENDED:
            self._open_next(*self._waiting.popleft())
        if self.is_listed and not self._waiting and not self._open:
            error = self._first_error if self._errors < 2 else f"{self._first_error} (and {self._errors - 1} more)"
            self.finish("failed" if self._errors else "exited", error=error)

    def _open_next(self, index: int, entry: Message) -> None:
        if not self.agent.files:
            self._count_error(index, "there is no place in this guest where files could be put")
            return
        incoming = None
        try:
            incoming = Incoming(index, entry, self.agent.files)
            self._open[index] = incoming
            incoming.open()
        except (OSError, PutError) as error:
            self._failed(index, error)
            return
        self._catch_up(incoming)

    def _catch_up(self, incoming: Incoming) -> None:
        """In pieces, so that all else goes on meanwhile."""
        if self._open.get(incoming.index) is not incoming:
            return
        try:
            ready = incoming.catch_up()
        except (OSError, PutError) as error:
            self._failed(incoming.index, error)
            return
        if ready:
            self._want(incoming)
        else:
            self.agent.loop.call_later(0, lambda: self._catch_up(incoming))

    def _want(self, incoming: Incoming) -> None:
        self._say("want", incoming.index, incoming.offset)
        if incoming.is_in_place:
            self._over(incoming.index)
        elif incoming.offset == incoming.size:
            self._settle(incoming)

    def _say(self, kind: str, index: int, offset: int) -> None:
        message = {"type": kind, "serial": self.serial, "stream": f"file/{index}", "offset": offset}
        self.agent.session.send(message)

    def take(self, message: Message) -> None:
        """Data, or that there will be none."""
        kind, _, number = str(message["stream"]).partition("/")
        incoming = self._open.get(int(number)) if kind == "file" else None
        if incoming is None or not incoming.is_ready:
            return
        if message["type"] == "failed":
            self._failed(incoming.index, PutError(str(message["error"])))
        elif message["type"] == "data":
            self._data(incoming, message)

    def _data(self, incoming: Incoming, message: Message) -> None:
        try:
            incoming.write(int(message["offset"]), message["data"])
        except (OSError, PutError) as error:
            self._failed(incoming.index, error)
            return
        if incoming.offset == incoming.size:
            self._settle(incoming)
        else:
            self._say("ack", incoming.index, incoming.offset)

    def _settle(self, incoming: Incoming) -> None:
        try:
            in_place = incoming.settle()
        except (OSError, PutError) as error:
            self._failed(incoming.index, error)
            return
        if in_place:
            self._say("ack", incoming.index, incoming.size)
            self._over(incoming.index)
        else:
            incoming.is_ready = False
            self._catch_up(incoming)

    def _failed(self, index: int, error: OSError | PutError) -> None:
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        incoming = self._open.get(index)
        if incoming is not None:
            text = f"{os.fsdecode(incoming.path)}: {text}"
            try:
                incoming.remove()
            except OSError as failure:
                self.agent.log.warn(f"{os.fsdecode(incoming.path)} has left a part: {failure.strerror}")
        self._count_error(index, text)
        self._over(index)

    def _count_error(self, index: int, error: str) -> None:
        self._errors += 1
        self._first_error = self._first_error or error
        self.agent.session.send(
            {"type": "failed", "serial": self.serial, "stream": f"file/{index}", "error": sendable(error)[:1000]}
        )

    def _over(self, index: int) -> None:
        incoming = self._open.pop(index, None)
        if incoming is not None:
            incoming.close()
        self.agent.loop.call_later(0, self._go_on)

    def resume(self) -> None:
        """Ask again for what is under way."""
        for incoming in list(self._open.values()):
            if incoming.is_ready:
                self._want(incoming)

    def abort(self) -> None:
        """Parts stay, for the next time."""
        for incoming in self._open.values():
            incoming.close()
        self._open.clear()
        self._waiting.clear()
