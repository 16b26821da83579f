"""The client's side of the command socket: JSON requests, JSON replies. Imports little: it runs once per command."""

from __future__ import annotations

import json
import socket
import time

TYPE_CHECKING = False  # `typing` costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_SIZE = 1_048_576
RESTART_S = 5.0
"""How long the server may be away while its node runs: it is being restarted."""
RETRY_S = 0.05
END_S = 10.0
NODE_LOCK = "node.lock"
ENDING_LOCKS = (NODE_LOCK, "minimega.lock", "nuke.lock")


class ServerGoneError(Exception):
    """The connection ended before the last reply."""


class CommandClient:
    """One connection to the command socket of a base directory, and so one session."""

    def __init__(self, base: str) -> None:
        """Connect, patiently while the node runs; raises OSError, which `cannot_connect` puts into words."""
        self._socket = _connect(base)
        self._replies: list[bytearray] = []
        self._pending = bytearray()
        self._owed = 0
        """Requests whose last reply has not been received: the user had no patience."""

    def close(self) -> None:
        """End the connection; a command under way is carried out all the same."""
        self._socket.close()

    def send(self, *, command: str = "", suggest: str = "") -> None:
        """Send a command line to run or to complete; raises ServerGoneError.

        What is still to come of earlier requests is read first and dropped.
        """
        while self._owed:
            self.receive()
        request = json.dumps({"Command": command, "Suggest": suggest, "PlumbPipe": ""})
        try:
            self._socket.sendall(request.encode() + b"\n")
        except ConnectionError:
            raise ServerGoneError from None
        self._owed += 1

    @property
    def is_behind(self) -> bool:
        """Whether replies to earlier requests are still to come."""
        return self._owed > 0

    def receive(self, timeout_s: float | None = None) -> dict[str, object]:
        """The next reply; the last one to a request has no `More`. Raises ServerGoneError, TimeoutError."""
        self._socket.settimeout(timeout_s)
        while not self._replies:
            try:
                data = self._socket.recv(READ_SIZE)
            except ConnectionError:
                data = b""
            if not data:
                raise ServerGoneError
            self._pending += data
            if b"\n" in data:
                *self._replies, self._pending = self._pending.split(b"\n")
        try:
            reply = json.loads(self._replies.pop(0))
        except ValueError:
            raise ServerGoneError from None  # whoever speaks there, it is not minibus
        if not isinstance(reply, dict):
            raise ServerGoneError
        self._owed -= not reply.get("More")
        return reply

    def run(self, line: str) -> Iterator[dict[str, object]]:
        """Run a command line and give its replies, up to the last; raises ServerGoneError."""
        self.send(command=line)
        while True:
            reply = self.receive()
            yield reply
            if not reply.get("More"):
                return


def responses_of(reply: dict[str, object]) -> list[dict[str, object]]:
    """The responses of a reply, one a host."""
    responses = reply.get("Resp")
    return responses if isinstance(responses, list) else []


def errors_of(reply: dict[str, object]) -> list[str]:
    """The errors of a reply as lines for stderr."""
    return [f"Error ({one.get('Host')}): {one['Error']}" for one in responses_of(reply) if one.get("Error")]


def ends_server(line: str) -> bool:
    """Whether a command that was not answered may be one that ends the server: `quit` or `nuke`."""
    words = line.split()
    is_short = bool(words) and ("quit".startswith(words[0]) or (len(words[0]) > 1 and "nuke".startswith(words[0])))
    return is_short or "quit" in words or "nuke" in words


def has_ended(base: str) -> bool:
    """Wait until what a command has ended is gone, so that it can be started again; False if it is not within `END_S`.

    Who may not look believes it.
    """
    deadline = time.monotonic() + END_S
    while any(_is_locked(base, lock) for lock in ENDING_LOCKS):
        if time.monotonic() > deadline:
            return False
        time.sleep(RETRY_S)
    return True


def cannot_connect(base: str, error: OSError) -> str:
    """One sentence on why there is no connection."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"minibus is not running on {base}: start it with `minibus up --base {base}`"
    if isinstance(error, PermissionError):
        from pathlib import Path

        from bus.access.group import denied

        return denied(Path(base))
    return f"cannot connect to {base}/minimega: {error.strerror or error}"


def _connect(base: str) -> socket.socket:
    path = f"{base}/minimega"
    deadline = time.monotonic() + RESTART_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline or not _may_come_back(base):
                raise
            time.sleep(RETRY_S)
        except OSError:
            connection.close()
            raise
        else:
            return connection


def _may_come_back(base: str) -> bool:
    """Whether the node runs, or for who cannot see that, the broker."""
    from pathlib import Path

    from bus.errors import BusError
    from bus.node.presence import is_running

    try:
        return is_running(Path(base))
    except (BusError, OSError):
        return False


def _is_locked(base: str, lock: str) -> bool:
    from pathlib import Path

    from bus.lock import holder

    try:
        return bool(holder(Path(base) / "run" / lock))
    except OSError:
        return False
