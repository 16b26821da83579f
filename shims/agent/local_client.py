"""`-tag` and `-pipe`: what programs of a guest use of the agent that serves it."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from typing import Any

from shims.agent.line.wire import PREAMBLE, FrameReader, decode, encode
from shims.agent.places import SOCKET, candidates

Message = dict[str, Any]

ANSWER_S = 10.0
_READ_BYTES = 32 * 1024
_STDIN, _STDOUT = 0, 1


class LocalError(Exception):
    """Why it did not work; one sentence."""


def connect(path: str, uuid: str) -> socket.socket:
    """A connection to the agent of this guest; raises LocalError."""
    for directory in candidates(path, uuid):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.connect(os.path.join(directory, SOCKET))
        except PermissionError as error:
            connection.close()
            raise LocalError(f"{os.path.join(directory, SOCKET)}: {error.strerror}") from None
        except OSError:
            connection.close()
            continue
        connection.sendall(PREAMBLE)
        return connection
    raise LocalError("no agent runs in this guest")


def set_tag(path: str, uuid: str, key: str, value: str) -> None:
    """Set a tag of this VM; raises LocalError."""
    with connect(path, uuid) as connection:
        connection.sendall(encode({"type": "tag", "key": key, "value": value}))
        connection.settimeout(ANSWER_S)
        try:
            for message in _messages(connection):
                if message["type"] == "tagged":
                    if message["error"]:
                        raise LocalError(str(message["error"]))
                    return
        except TimeoutError:
            raise LocalError(f"the server has not answered within {ANSWER_S:g} s; the tag may be set or not") from None
    raise LocalError("the agent has ended")


def run_pipe(path: str, uuid: str, pipe: str) -> None:
    """Carry stdin into the pipe and the pipe to stdout, until stdin ends or the pipe is deleted; raises LocalError.

    Returns when the last line of stdin has arrived.
    """
    with connect(path, uuid) as connection:
        connection.sendall(encode({"type": "pipe", "pipe": pipe}))
        _Carrier(connection).run()


def _messages(connection: socket.socket) -> Iterator[Message]:
    reader = FrameReader()
    while data := connection.recv(_READ_BYTES):
        for body in reader.feed(data):
            if body is not None:
                yield decode(body)


class _Carrier:
    """Both directions at once, neither waiting for the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = FrameReader()
        self._outgoing = bytearray()
        self._stdin_ended = False

    def run(self) -> None:
        """Until the agent says that it is over."""
        while True:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
            if not self._outgoing and not self._stdin_ended:
                poll.register(_STDIN, select.POLLIN)
            for fd, what in poll.poll():
                if fd == _STDIN:
                    self._read_stdin()
                elif what & select.POLLOUT:
                    del self._outgoing[: self._connection.send(self._outgoing)]
                elif self._read_agent():
                    return

    def _read_stdin(self) -> None:
        try:
            data = os.read(_STDIN, _READ_BYTES)
        except OSError:
            data = b""
        if data:
            self._outgoing += encode({"type": "write", "data": data})
        else:
            self._stdin_ended = True
            self._outgoing += encode({"type": "end"})

    def _read_agent(self) -> bool:
        data = self._connection.recv(_READ_BYTES)
        if not data:
            raise LocalError("the agent has ended")
        for body in self._reader.feed(data):
            message: Message = {"type": ""} if body is None else decode(body)
            if message["type"] == "lines":
                _write_all(message["data"])
            elif message["type"] == "end":
                if message["error"]:
                    raise LocalError(str(message["error"]))
                return True
        return False


def _write_all(data: bytes) -> None:
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except OSError as error:
        raise LocalError(f"stdout: {error.strerror}") from None
