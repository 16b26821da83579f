"""A server in the place of the actor `cc`, for tests of the agent: it says what it is told to, and hears everything."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shims.agent.line.wire import PREAMBLE, FrameReader, decode, encode

Message = dict[str, Any]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
UUID = "5d1b8a5a-54cb-4cd5-9d05-0c4e1f5d2f0a"
WINDOW = 256 * 1024
KEEPALIVE_S = 30.0


class Peer:
    """One connection of an agent. `hear` takes the next message of a type, and keeps the others for later."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(0.05)
        self.reader = FrameReader()
        self.heard: list[Message] = []
        self.is_over = False
        self.read_limit = 1 << 20

    def say(self, **message: Any) -> None:
        """Send one message."""
        self.say_bytes(encode(message))

    def say_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.socket.settimeout(PATIENCE_S)
        self.socket.sendall(data)

    def read(self, wait_s: float = 0.05) -> None:
        """Take what has come, waiting a moment."""
        self.socket.settimeout(wait_s)
        try:
            data = self.socket.recv(self.read_limit)
        except (TimeoutError, BlockingIOError):
            return
        except ConnectionResetError:
            data = b""
        self.is_over = self.is_over or not data
        self.heard += [decode(body) for body in self.reader.feed(data) if body is not None]

    def hear(self, kind: str, **fields: Any) -> Message:
        """The next message of this type with these fields."""
        return self.hear_any((kind,), **fields)

    def hear_any(self, kinds: tuple[str, ...], **fields: Any) -> Message:
        """The next message of one of these types with these fields."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for at, message in enumerate(self.heard):
                if message["type"] in kinds and all(message.get(name) == value for name, value in fields.items()):
                    return self.heard.pop(at)
            assert not self.is_over, f"the agent hung up instead of saying {kinds}; before that {self.heard}"
            assert time.monotonic() < deadline, f"waited in vain for {kinds} {fields}; heard {self.heard[:20]}"
            self.read()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Listen until something is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; heard {self.heard[:20]}"
            self.read()

    def data_bytes(self) -> int:
        """Of all streams, heard and not yet taken."""
        return sum(len(message["data"]) for message in self.heard if message["type"] == "data")

    def hears_nothing(self, kind: str, during_s: float) -> None:
        """Fails if a message of this type comes."""
        deadline = time.monotonic() + during_s
        while time.monotonic() < deadline:
            self.read()
            assert not [message for message in self.heard if message["type"] == kind]

    def welcome(self, hello: Message, ledger: str = "L", **fields: Any) -> None:
        """Answer a hello."""
        self.say_bytes(PREAMBLE)
        values = {"version": 1, "server": "s", "keepalive_s": KEEPALIVE_S, "window": WINDOW} | fields
        self.say(type="welcome", session=hello["session"], ledger=ledger, **values)

    def begin(self, ledger: str = "L", **fields: Any) -> list[Message]:
        """Greet, and hear all records."""
        self.welcome(self.hear("hello"), ledger, **fields)
        self.hear("synced")
        records = [message for message in self.heard if message["type"] == "record"]
        self.heard = [message for message in self.heard if message["type"] != "record"]
        return records

    def run(self, serial: int, *argv: str | bytes, **fields: Any) -> None:
        """Ask for a program."""
        self.say(type="run", serial=serial, argv=list(argv), **fields)

    def output(self, serial: int, stream: str = "stdout", acknowledge: bool = True) -> bytes:
        """All of one stream, acknowledged as it comes."""
        data = bytearray()
        while True:
            message = self.hear("data", serial=serial, stream=stream)
            assert message["offset"] == len(data), "a gap in a stream"
            data += message["data"]
            if acknowledge:
                self.say(type="ack", serial=serial, stream=stream, offset=len(data))
            if message["eof"]:
                return bytes(data)

    def result(self, serial: int) -> tuple[str, int, bytes, bytes]:
        """Outcome, code, stdout and stderr of a program."""
        stdout, stderr = self.output(serial), self.output(serial, "stderr")
        done = self.hear("done", serial=serial)
        assert (done["stdout"], done["stderr"]) == (len(stdout), len(stderr))
        self.say(type="confirm", serial=serial)
        return done["outcome"], done["code"], stdout, stderr

    def got_file(self, message: Message, offset: int = 0, have: bytes = b"") -> bytes:
        """The content of a file that the agent has announced."""
        serial, stream = message["serial"], f"file/{message['index']}"
        self.say(type="want", serial=serial, stream=stream, offset=offset)
        data = bytearray(have[:offset])
        while True:
            part = self.hear("data", serial=serial, stream=stream)
            assert part["offset"] == len(data)
            data += part["data"]
            if not part["eof"]:
                self.say(type="ack", serial=serial, stream=stream, offset=len(data))
                continue
            digest = self.hear("digest", serial=serial, index=message["index"])
            assert digest["sha256"] == hashlib.sha256(data).hexdigest()
            self.say(type="ack", serial=serial, stream=stream, offset=len(data))
            return bytes(data)

    def put(self, serial: int, files: dict[str, bytes], mode: int = 0o644) -> None:
        """Offer files."""
        entries = [
            {"name": name, "size": len(data), "mode": mode, "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ]
        self.say(type="put", serial=serial, first=0, files=entries, more=False)

    def feed_file(self, serial: int, index: int, data: bytes, chunk: int = 65536) -> int:
        """Send one file from where the agent wants it to its end; returns from where."""
        stream = f"file/{index}"
        begin: int = self.hear("want", serial=serial, stream=stream)["offset"]
        for at in range(begin, len(data), chunk):
            piece = data[at : at + chunk]
            self.say(type="data", serial=serial, stream=stream, offset=at, data=piece, eof=at + len(piece) == len(data))
            if begin < len(data):
                self.read(0.001)
        return begin

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


class Server:
    """Listens where an agent looks for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener: socket.socket | None = None
        self.peers: list[Peer] = []
        self.listen()

    def listen(self) -> None:
        """From now on."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(1000)
        self._listener.settimeout(PATIENCE_S)

    def accept(self) -> Peer:
        """The next connection."""
        assert self._listener is not None
        connection, _ = self._listener.accept()
        peer = Peer(connection)
        self.peers.append(peer)
        return peer

    def begin(self, **fields: Any) -> Peer:
        """The next connection, greeted; it has no records."""
        peer = self.accept()
        assert peer.begin(**fields) == []
        return peer

    def stop_listening(self) -> None:
        """Nobody can connect."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """With all connections."""
        self.stop_listening()
        for peer in self.peers:
            peer.close()


class Guest:
    """A directory with an agent in it; the agent is a process of this machine."""

    def __init__(self, directory: Path, program: list[str] | None = None) -> None:
        self.directory = directory
        self.program = program or [sys.executable, "-m", "shims.agent"]
        self.server = Server(directory / "cc")
        self.path = directory / "agent"
        self.files = self.path / "files"
        self.log = directory / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
        """One more agent."""
        where = ["-family", "unix", "-parent", str(self.server.path)] if "-serial" not in flags else []
        command = [*self.program, "-uuid", UUID, *where, "-path", str(self.path), "-level", "debug", *flags]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=log, env={**os.environ, **environment}
            )
        self.processes.append(process)
        return process

    def local(self, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the agent's program as a local user of it."""
        command = [*self.program, "-uuid", UUID, "-path", str(self.path), *words]
        return subprocess.run(command, cwd=ROOT, input=data, capture_output=True, timeout=PATIENCE_S, check=False)

    def stop(self) -> None:
        """End everything, and look at how it ended."""
        self.server.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                assert process.wait(PATIENCE_S) == 0, self.log.read_text()
        log = self.log.read_text() if self.log.exists() else ""
        assert "should not happen" not in log, log
        assert "Traceback" not in log, log


@contextlib.contextmanager
def guest_in(directory: Path, program: list[str] | None = None) -> Iterator[Guest]:
    """A guest that is ended and looked at in the end."""
    guest = Guest(directory, program)
    try:
        yield guest
    finally:
        guest.stop()


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
