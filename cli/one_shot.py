"""Sends one command to the command socket and prints what comes back. Imports little: it runs once per command."""

from __future__ import annotations

import json
import os
import socket
import sys
import time

TYPE_CHECKING = False  # `typing` costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_SIZE = 1_048_576
RESTART_S = 5.0
"""How long the server may be away while its node runs: it is being restarted."""
RETRY_S = 0.05


def run(base: str, line: str, *, as_json: bool = False) -> tuple[bool, bool]:
    """Run a command line; gives whether it was answered to the end, and whether any host answered with an error.

    Text and JSON go to stdout, errors to stderr.
    """
    try:
        connection = _connect(base)
    except OSError as error:
        sys.stderr.write(f"minibus: {_cannot_connect(base, error)}\n")
        return False, False
    answered = failed = False
    with connection:
        request = json.dumps({"Command": line, "Suggest": "", "PlumbPipe": ""})
        for reply in _replies(connection, request.encode() + b"\n"):
            failed |= _print(reply, as_json)
            answered = not reply.get("More")
    if not answered and _ends_server(line):
        return True, failed
    if not answered:
        sys.stderr.write(
            "minibus: the server closed the connection before it had answered; what became of the command is unknown\n"
        )
    return answered, failed


def _connect(base: str) -> socket.socket:
    """Connect, patiently while the node runs; raises OSError."""
    path = f"{base}/minimega"
    deadline = time.monotonic() + RESTART_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline or not _node_runs(base):
                raise
            time.sleep(RETRY_S)
        except OSError:
            connection.close()
            raise
        else:
            return connection


def _node_runs(base: str) -> bool:
    from pathlib import Path

    from bus.lock import holder

    try:
        return bool(holder(Path(base) / "run" / "node.lock"))
    except OSError:
        return False


def _replies(connection: socket.socket, request: bytes) -> Iterator[dict[str, object]]:
    """Send the request and give its replies, up to the last or to the end of the connection."""
    pending = b""
    try:
        connection.sendall(request)
        while data := connection.recv(READ_SIZE):
            pending += data
            if b"\n" not in data:
                continue
            *lines, pending = pending.split(b"\n")
            for text in lines:
                reply = json.loads(text)
                yield reply
                if not reply.get("More"):
                    return
    except ConnectionError:
        return


def _print(reply: dict[str, object], as_json: bool) -> bool:
    """Print one reply; gives whether it holds an error."""
    responses = reply.get("Resp")
    groups = responses if isinstance(responses, list) else []
    if as_json:
        print(json.dumps(groups, ensure_ascii=False, separators=(",", ":")))
    elif reply.get("Rendered"):
        print(reply["Rendered"])
    print(end="", flush=True)  # before the errors, so that both come in order on a terminal
    errors = [(response.get("Host"), response["Error"]) for response in groups if response.get("Error")]
    if not as_json:
        for host, error in errors:
            sys.stderr.write(f"Error ({host}): {error}\n")
    return bool(errors)


def _ends_server(line: str) -> bool:
    first = line.split(maxsplit=1)[:1]
    return bool(first) and "quit".startswith(first[0])


def _cannot_connect(base: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"minibus is not running on {base}: start it with `minibus up --base {base}`"
    if isinstance(error, PermissionError):
        return f"user {os.geteuid()} may not use {base}/minimega"
    return f"cannot connect to {base}/minimega: {error.strerror or error}"
