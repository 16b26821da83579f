"""An agent that means harm. Run inside a container, of which the first argument says how: see `KINDS`.

It writes a word to /said for each thing done, so that a test can see that it was at work.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import socket
import struct
import sys
import time
import zlib
from typing import Any

import msgpack

PREAMBLE = b"\xf5\xf6minibus-agent\r\n"
NAMES = (
    "../../x",
    "/../../x",
    "/etc/../../../x",
    "/",
    "",
    "//",
    "/.",
    "/..",
    "/a//b",
    "/a\0b",
    "/" + "x" * 300,
    "/x" * 2000,
    "relative",
    b"/\xff\xfe/../x",
    "/stdout",
    "/stderr",
    "/exitcode",
    "/stdout/x",
    "/.partial/x",
    "/\n\x1b[31m",
)
"""Of files that it would send."""


def frame(message: Any) -> bytes:
    """As it travels."""
    body: bytes = msgpack.packb(message)
    return struct.pack("!II", len(body), zlib.crc32(body)) + body


class Connection:
    """A line to the server, on which it may have said hello."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(1.0)
        self.socket.connect("/cc")
        self._read = b""

    def send(self, *messages: Any) -> None:
        """Frames of the agent."""
        self.socket.sendall(b"".join(map(frame, messages)))

    def hello(self, **fields: Any) -> None:
        """As an agent would, and what the server says then is not looked at."""
        said = {
            "type": "hello",
            "versions": [1],
            "session": 1,
            "uuid": "00000000-0000-0000-0000-000000000000",
            "boot": "boot",
            "agent": os.urandom(4).hex(),
            "hostname": "evil",
            "arch": "amd64",
            "os": "linux",
            "release": "",
            "ips": [],
            "macs": [],
            "ledger": "",
        }
        self.socket.sendall(PREAMBLE + frame(said | fields) + frame({"type": "synced"}))

    def messages(self) -> Any:
        """What the server says, until it stops."""
        while True:
            while len(self._read) >= 8:
                if self._read.startswith(PREAMBLE):
                    self._read = self._read[len(PREAMBLE) :]
                    continue
                (size, _) = struct.unpack("!II", self._read[:8])
                if len(self._read) < 8 + size:
                    break
                body, self._read = self._read[8 : 8 + size], self._read[8 + size :]
                yield msgpack.unpackb(body)
            data = self.socket.recv(65536)
            if not data:
                return
            self._read += data


def garbage(connection: Connection, chance: random.Random) -> None:
    """Bytes that are no frames, and frames that are no messages."""
    if chance.random() < 0.5:
        connection.hello()
    for _ in range(200):
        connection.socket.sendall(chance.randbytes(chance.randrange(1, 65536)))
        connection.send({"type": chance.choice(["data", "file", "hello", 7, None])}, [1, [2]], chance.random())


def lengths(connection: Connection, chance: random.Random) -> None:
    """Lengths and counts that lie."""
    connection.hello()
    lies = (
        struct.pack("!II", 0xFFFFFFFF, 0),
        struct.pack("!II", 131072, 0) + b"\xdf\xff\xff\xff\xff" * 20000,
        frame({"type": "file", "serial": 1, "index": 0, "name": "/huge", "size": 2**53, "mode": 0o4777}),
        frame({"type": "file", "serial": 1, "index": 2**53, "name": "/x", "size": 1, "mode": -1}),
        frame({"type": "data", "serial": 1, "stream": "stdout", "offset": 2**52, "data": b"x" * 100}),
        frame({"type": "done", "serial": 1, "outcome": "exited", "stdout": 2**53, "stderr": 2**53}),
        frame({"type": "record", "serial": 2**53, "state": "ended", "outcome": "exited", "stdout": 5}),
    )
    for _ in range(20):
        connection.socket.sendall(chance.choice(lies))


def flood(connection: Connection, chance: random.Random) -> None:
    """More than anybody wants, and it never reads."""
    connection.hello()
    pings = b"".join(frame({"type": "ping", "n": number}) for number in range(1000))
    output = frame({"type": "data", "serial": 1, "stream": "stdout", "offset": 0, "data": bytes(65536), "eof": False})
    facts = frame({"type": "facts", "hostname": "x" * 200, "ips": ["10.0.0.1"] * 500, "macs": []})
    tag = frame({"type": "tag", "number": 1, "key": "k" * 200, "value": "v" * 200})
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s:
        connection.socket.sendall(chance.choice((pings, output * 16, facts * 50, tag * 100)))


def many(connection: Connection, chance: random.Random) -> None:
    """Line after line, which say nothing or hello."""
    lines = []
    for _ in range(500):
        line = Connection()
        lines.append(line)
        if chance.random() < 0.5:
            with contextlib.suppress(OSError):
                line.hello()
    for line in lines:
        line.socket.close()


def names(connection: Connection, chance: random.Random) -> None:
    """Files whose names lead elsewhere, for whatever it is asked."""
    connection.hello()
    for message in connection.messages():
        kind, serial = message["type"], message.get("serial", 0)
        if kind == "get":
            for index, name in enumerate(NAMES):
                connection.send(
                    {"type": "file", "serial": serial, "index": index, "name": name, "size": 5, "mode": 0o6777}
                )
        elif kind == "want":
            index = int(message["stream"].partition("/")[2] or 0)
            connection.send(
                {"type": "data", "serial": serial, "stream": message["stream"], "offset": 0, "data": b"evil\n"},
                {
                    "type": "digest",
                    "serial": serial,
                    "index": index,
                    "sha256": hashlib.sha256(b"evil\n").hexdigest(),
                },
            )
        elif kind == "run" and chance.random() < 0.7:
            connection.send({"type": "done", "serial": serial, "outcome": "exited", "stdout": 0, "stderr": 0})
        elif kind == "run":
            data = b"x" * 1000
            for stream in ("stdout", "stderr", "../stdout", "file/0", "exitcode", "/etc/passwd"):
                connection.send({"type": "data", "serial": serial, "stream": stream, "offset": 0, "data": data})


def thief(connection: Connection, chance: random.Random) -> None:
    """Asks for files that are sent to others, under their UUIDs too."""
    connection.hello(uuid=os.environ.get("VICTIM", ""))
    for serial in range(1, 40):
        line = Connection()
        with contextlib.suppress(OSError):
            line.hello(uuid=os.environ.get("VICTIM", ""))
            line.send({"type": "want", "serial": serial, "stream": "file/0", "offset": 0})
            for message in line.messages():
                if message["type"] in ("data", "put"):
                    with open("/stolen", "ab") as stolen:  # noqa: PTH123
                        stolen.write(repr(message).encode())
        line.socket.close()


KINDS = {"garbage": garbage, "lengths": lengths, "flood": flood, "many": many, "names": names, "thief": thief}


def main(kind: str) -> None:
    """Again and again, as often as it is thrown out."""
    chance = random.Random(int(os.environ.get("SEED", "1")))
    for turn in itertools.count():
        with contextlib.suppress(OSError, ValueError):
            connection = Connection()
            try:
                KINDS[kind](connection, chance)
            finally:
                connection.socket.close()
        with open("/said", "a", encoding="utf-8") as said:  # noqa: PTH123 - there is little of Python in here
            said.write(f"{turn}\n")
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
