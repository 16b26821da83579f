"""`minibus pipe`: stdin into a pipe of a running minibus, and what flows through that pipe to stdout."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator

from cli.client import CommandClient, ServerGoneError, cannot_connect, errors_of
from cli.grammar.quoting import quote

READ_SIZE = 65_536
MAX_LINE = 1_048_576
"""Bytes; a longer line is sent in pieces."""
STDIN = 0


def pipe(base: str, name: str, *, namespace: str = "") -> int:
    """Connect stdin and stdout to the named pipe; returns the exit status once minibus has closed it.

    The end of stdin is passed on, and what others write still arrives.
    """
    try:
        client = CommandClient(base)
    except OSError as error:
        return _fail(cannot_connect(base, error))
    try:
        if namespace and not _enter(client, namespace):
            return 1
        connection = client.become_pipe(name)
        threading.Thread(target=_write, args=(connection,), name="stdin", daemon=True).start()
        return _read(connection)
    except ServerGoneError:
        return _fail("the server has closed the connection")
    finally:
        client.close()


def _enter(client: CommandClient, namespace: str) -> bool:
    errors = [error for reply in client.run(f"namespace {quote(namespace)}") for error in errors_of(reply)]
    for error in errors:
        sys.stderr.write(f"{error}\n")
    return not errors


def _read(connection: socket.socket) -> int:
    """Print what arrives: JSON strings, or one object that says what is wrong."""
    pending = b""
    while data := _receive(connection):
        *values, pending = (pending + data).split(b"\n")
        for text in values:
            value = json.loads(text) if text.strip() else ""
            if isinstance(value, dict):
                return _fail("\n".join(errors_of(value)) or "the server attaches nobody to this pipe")
            if sys.stdout is not None:
                sys.stdout.write(str(value))
        print(end="", flush=True)
    return 0


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(READ_SIZE)
    except ConnectionError:
        return b""


def _write(connection: socket.socket) -> None:
    """Send stdin line by line, then tell that there is no more."""
    try:
        for line in lines_of(STDIN):
            connection.sendall(json.dumps(line.decode("utf-8", "replace")).encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # the other end has gone, which the reader sees as well; or stdin is closed
        return


def lines_of(fd: int) -> Iterator[bytes]:
    """The lines of a file descriptor as they come, each with a newline even if the last one has none."""
    pending = b""
    while data := os.read(fd, READ_SIZE):  # not sys.stdin: its lock would be held at the end of the program
        *lines, pending = (pending + data).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(pending) > MAX_LINE:
            yield pending
            pending = b""
    if pending:
        yield pending + b"\n"


def _fail(sentence: str) -> int:
    sys.stderr.write(sentence if sentence.startswith("Error") else f"minibus: {sentence}")
    sys.stderr.write("\n")
    return 1
