"""The local socket: programs of this guest set tags and use pipes through it. `local_client` is the other end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE
from typing import TYPE_CHECKING, Any

from shims.agent.line.wire import PREAMBLE, FrameReader, WireError, decode, encode
from shims.agent.pipes import Lines, ReadEnd, WriteEnd

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

_READ_BYTES = 64 * 1024
_MAX_USERS = 256
MAX_TAG = 4096
"""Characters of a key or a value."""


class Tags:
    """What local users set, until the server has it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._last = 0
        self._open: dict[int, tuple[Message, Callable[[str], None]]] = {}

    def set(self, key: str, value: str, answer: Callable[[str], None]) -> int:
        """Tell the server; `answer` gets what went wrong, or nothing. Returns a number to forget it by."""
        self._last += 1
        message = {"type": "tag", "number": self._last, "key": key, "value": value}
        self._open[self._last] = (message, answer)
        self._agent.session.send(message)
        return self._last

    def forget(self, number: int) -> None:
        """Who asked has gone; what was said may have been heard all the same."""
        self._open.pop(number, None)

    def resume(self) -> None:
        """In a new session."""
        for message, _ in list(self._open.values()):
            self._agent.session.send(message)

    def take(self, message: Message) -> None:
        """The server has answered."""
        _, answer = self._open.pop(message["number"], (None, None))
        if answer is not None:
            answer(str(message.get("error", "")))


class User:
    """One connection of a local program."""

    def __init__(self, agent: Agent, connection: socket.socket, on_gone: Callable[[User], None]) -> None:
        self._agent, self._socket, self._on_gone = agent, connection, on_gone
        self._reader = FrameReader()
        self._outgoing = bytearray(PREAMBLE)
        self._delivered: Callable[[], None] | None = None
        self._lines = Lines()
        self._read_end: ReadEnd | None = None
        self._write_end: WriteEnd | None = None
        self._tag = 0
        self._closing = False
        agent.loop.on_readable(connection.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for body in self._reader.feed(data):
                if body is not None and self._socket.fileno() >= 0:
                    self._take(decode(body))
        except (WireError, KeyError, TypeError, ValueError, AttributeError) as error:
            self._agent.log.debug(f"a local program is not understood: {error}")
            self.close()

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "tag":
            key, value = str(message["key"]), str(message["value"])
            if not 0 < len(key) <= MAX_TAG or len(value) > MAX_TAG:
                self._answer({"type": "tagged", "error": f"a key has 1 to {MAX_TAG} characters, a value no more"})
            else:
                self._tag = self._agent.tags.set(
                    key, value, lambda error: self._answer({"type": "tagged", "error": error})
                )
        elif kind == "pipe" and self._read_end is None:
            pipe = str(message["pipe"])
            self._read_end = ReadEnd(self._agent, pipe, self._deliver, self._pipe_ended)
            self._write_end = WriteEnd(self._agent, pipe, self._go_on, self._pipe_ended)
        elif kind == "write" and self._write_end is not None:
            self._write(self._lines.feed(bytes(message["data"])))
        elif kind == "end" and self._write_end is not None:
            self._write(self._lines.last())
            self._write_end.finish()

    def _write(self, lines: bytes) -> None:
        if lines and self._write_end is not None:
            self._write_end.write(lines)
        self._go_on()

    def _go_on(self) -> None:
        """Read on while the pipe takes it."""
        if self._write_end is not None and self._socket.fileno() >= 0:
            self._agent.loop.on_readable(self._socket.fileno(), self._readable if self._write_end.has_room else None)

    def _deliver(self, data: bytes, done: Callable[[], None]) -> None:
        self._delivered = done
        self._answer({"type": "lines", "data": data})

    def _pipe_ended(self, error: str) -> None:
        if not self._closing:
            self._closing = True
            self._answer({"type": "end", "error": error})

    def _answer(self, message: Message) -> None:
        if self._socket.fileno() >= 0:
            self._outgoing += encode(message)
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._outgoing[:sent]
        self._agent.loop.on_writable(self._socket.fileno(), self._flush if self._outgoing else None)
        if not self._outgoing and self._delivered is not None:
            delivered, self._delivered = self._delivered, None
            delivered()

    def close(self) -> None:
        """It has gone."""
        if self._socket.fileno() < 0:
            return
        self._closing = True
        self._agent.loop.forget(self._socket.fileno())
        self._socket.close()
        self._agent.tags.forget(self._tag)
        for end in (self._read_end, self._write_end):
            if end is not None:
                end.close()
        self._on_gone(self)


class LocalSocket:
    """Where local programs find the agent. A stale one of an earlier agent is removed."""

    def __init__(self, agent: Agent, path: str) -> None:
        self._agent, self._path = agent, path
        self._users: set[User] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            agent.log.warn(f"{path} cannot be removed: {error.strerror}")
        try:
            self._listener.bind(path)
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            agent.log.error(f"-tag and -pipe will not work: {path}: {error.strerror}")
            return
        self._watch()

    def _watch(self) -> None:
        if self._listener.fileno() >= 0:
            self._agent.loop.on_readable(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):  # it stays in the queue, and poll(2) would say so all the time
                self._agent.loop.on_readable(self._listener.fileno(), None)
                self._agent.loop.call_later(1.0, self._watch)
            return
        if len(self._users) >= _MAX_USERS:
            connection.close()
            return
        connection.setblocking(False)
        self._users.add(User(self._agent, connection, self._users.discard))

    def close(self) -> None:
        """With everything that is open on it."""
        for user in list(self._users):
            user.close()
        if self._listener.fileno() >= 0:
            self._agent.loop.forget(self._listener.fileno())
            self._listener.close()
            try:
                os.unlink(self._path)
            except OSError as error:
                self._agent.log.warn(f"{self._path} cannot be removed: {error.strerror}")
