"""An agent of the tests' own: the protocol by hand with plain msgpack, and programs that are functions.

It keeps its records over reconnects and counts what it runs, as a real one does on its disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

PREAMBLE = b"\xf5\xf6minibus-agent\r\n"
HEADER = struct.Struct("!II")
CHUNK = 60_000
_names = itertools.count(1)

Program = Callable[[dict[str, Any]], tuple[bytes, bytes, int]]


def echo(run: dict[str, Any]) -> tuple[bytes, bytes, int]:
    """Says its arguments."""
    return b" ".join(word.encode() for word in run["argv"]) + b"\n", b"", 0


def frame(message: dict[str, Any]) -> bytes:
    """As it travels."""
    body: bytes = msgpack.packb(message)
    return HEADER.pack(len(body), zlib.crc32(body)) + body


class Agent:
    """See the module. `hold` keeps programs from ending until it is set."""

    def __init__(
        self, where: Path | tuple[str, int], uuid: str, *, program: Program = echo, boot: str = "boot1"
    ) -> None:
        self.where = where
        self.uuid = uuid
        self.boot = boot
        self.agent = f"agent{next(_names)}"
        self.program = program
        self.ran: Counter[int] = Counter()
        self.records: dict[int, dict[str, Any]] = {}
        self.output: dict[tuple[int, str], bytes] = {}
        self.acked: Counter[tuple[int, str]] = Counter()
        self.files: dict[str, bytes] = {}
        """What is in the guest, by absolute path; files that are sent go to `/files/`."""
        self.give_only: set[int] | None = None
        """Indexes of the files that it sends; None for all that are wanted."""
        self.put: dict[int, list[dict[str, Any]]] = {}
        self.arrived: set[tuple[int, int]] = set()
        """Files of a `put` that are whole, by serial and index."""
        self.growing: dict[tuple[int, int], bytearray] = {}
        self.facts: dict[str, Any] = {"hostname": "guest", "arch": "amd64", "os": "linux", "ips": ["10.0.0.5"]}
        self.durable = True
        self.seen: list[dict[str, Any]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.reads = asyncio.Event()
        """Whether it takes what the server says."""
        self.reads.set()
        self.ledger = ""
        self.refused = ""
        self.welcomes = 0
        self.confirmed: set[int] = set()
        self._session = 0
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._programs: set[asyncio.Task[None]] = set()

    # --- life

    async def __aenter__(self) -> Agent:
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._task, *self._programs) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.hang_up()

    def hang_up(self) -> None:
        """Cut the line; it comes back by itself."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def send(self, **message: Any) -> None:
        """A frame, if there is a line."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(message))

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._session_of_one_line()
            self.hang_up()
            await asyncio.sleep(0.05)

    async def _session_of_one_line(self) -> None:
        if isinstance(self.where, Path):
            reader, self._writer = await asyncio.open_unix_connection(str(self.where))
        else:
            reader, self._writer = await asyncio.open_connection(*self.where)
        self._session += 1
        self._writer.write(PREAMBLE)
        self.send(type="hello", **self.hello())
        assert await reader.readexactly(len(PREAMBLE)) == PREAMBLE
        while True:
            await self.reads.wait()
            length, checksum = HEADER.unpack(await reader.readexactly(HEADER.size))
            body = await reader.readexactly(length)
            assert zlib.crc32(body) == checksum
            message = msgpack.unpackb(body)
            self.seen.append(message)
            self.took(message)

    def hello(self) -> dict[str, Any]:
        """Who it is."""
        return {
            "versions": [1],
            "session": self._session,
            "uuid": self.uuid,
            "boot": self.boot,
            "agent": self.agent,
            "ledger": self.ledger,
            "durable": self.durable,
            **self.facts,
        }

    # --- what it is told

    def took(self, message: dict[str, Any]) -> None:
        """One frame."""
        handler = getattr(self, f"on_{message['type']}", None)
        if handler is not None:
            handler(message)

    def on_welcome(self, message: dict[str, Any]) -> None:
        """Tell what is known."""
        assert message["session"] == self._session
        self.welcomes += 1
        if message["ledger"] != self.ledger:
            self.records.clear()
        self.ledger = message["ledger"]
        for serial, record in self.records.items():
            if serial not in self.confirmed:
                self.send(type="record", serial=serial, **self._with_acks(serial, record))
        self.send(type="synced")
        for serial, record in self.records.items():
            if record["state"] == "running" and "patterns" in record:
                self._announce(serial)
            elif record["state"] == "running" and serial in self.put:
                self._want_files(serial)

    def _with_acks(self, serial: int, record: dict[str, Any]) -> dict[str, Any]:
        known = {key: value for key, value in record.items() if key != "patterns"}
        if record["state"] == "running":
            known |= {stream: self.acked[serial, stream] for stream in ("stdout", "stderr")}
        return known

    def on_refuse(self, message: dict[str, Any]) -> None:
        """Remember why."""
        self.refused = message["reason"]

    def on_ping(self, message: dict[str, Any]) -> None:
        """Here."""
        self.send(type="pong", n=message["n"])

    def on_run(self, message: dict[str, Any]) -> None:
        """Run it, if it was not run before."""
        serial = message["serial"]
        if serial in self.records:
            return
        self.ran[serial] += 1
        self.records[serial] = {"state": "running", "pid": 1000 + serial, "time_s": 5.0}
        self.send(type="started", serial=serial, pid=1000 + serial, time_s=5.0)
        self._begin(self._run(message))

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._programs.add(task)
        task.add_done_callback(self._programs.discard)

    async def _run(self, message: dict[str, Any]) -> None:
        serial = message["serial"]
        stdout, stderr, code = self.program(message)
        for stream, data in (("stdout", stdout), ("stderr", stderr)):
            self.output[serial, stream] = data
            half = data if self.hold.is_set() else data[: len(data) // 2]
            self._say(serial, stream, half, 0)
        await self.hold.wait()
        for stream, data in (("stdout", stdout), ("stderr", stderr)):
            self._say(serial, stream, data, self.acked[serial, stream])
        self.end(serial, "exited", code)

    def _say(self, serial: int, stream: str, data: bytes, offset: int) -> None:
        while offset < len(data):
            piece = data[offset : offset + CHUNK]
            self.send(type="data", serial=serial, stream=stream, offset=offset, data=piece, eof=False)
            offset += len(piece)

    def end(self, serial: int, outcome: str, code: int = 0, error: str = "") -> None:
        """Say how it ended, until that is confirmed."""
        counts = {stream: len(self.output.get((serial, stream), b"")) for stream in ("stdout", "stderr")}
        done = {"outcome": outcome, "code": code, "error": error, "time_s": 6.0, **counts}
        self.records[serial] = {"state": "ended", **done}
        self.send(type="done", serial=serial, **done)

    def on_signal(self, message: dict[str, Any]) -> None:
        """End it."""
        record = self.records.get(message["serial"])
        if record is not None and record["state"] == "running" and message["signal"]:
            self.end(message["serial"], "signaled", message["signal"])

    def on_confirm(self, message: dict[str, Any]) -> None:
        """It is known."""
        self.confirmed.add(message["serial"])

    def on_want(self, message: dict[str, Any]) -> None:
        """Go on from there."""
        serial, stream, offset = message["serial"], message["stream"], message["offset"]
        if stream in ("stdout", "stderr"):
            self._say(serial, stream, self.output.get((serial, stream), b""), offset)
        else:
            self._give(serial, int(stream.partition("/")[2]), offset)

    def on_ack(self, message: dict[str, Any]) -> None:
        """So much is there."""
        serial, stream, offset = message["serial"], message["stream"], message["offset"]
        self.acked[serial, stream] = max(self.acked[serial, stream], offset)
        record = self.records.get(serial)
        if stream.startswith("file/") and record is not None and "patterns" in record:
            self._settle_get(serial)

    # --- files

    def on_get(self, message: dict[str, Any]) -> None:
        """Send files."""
        serial = message["serial"]
        if serial in self.records:
            return
        self.ran[serial] += 1
        self.records[serial] = {"state": "running", "patterns": message["patterns"]}
        self._announce(serial)

    def _names(self, serial: int) -> list[str]:
        return [name for name in self.records[serial]["patterns"] if name in self.files]

    def _announce(self, serial: int) -> None:
        for index, name in enumerate(self._names(serial)):
            size = len(self.files[name])
            if (serial, f"file/{index}") not in self.acked or self.acked[serial, f"file/{index}"] < size:
                self.send(type="file", serial=serial, index=index, name=name, size=size, mode=0o640, error="")
        if not self._names(serial):
            self.end(serial, "failed", error="no such file")

    def _give(self, serial: int, index: int, offset: int) -> None:
        if self.give_only is not None and index not in self.give_only:
            return
        data = self.files[self._names(serial)[index]]
        self._say(serial, f"file/{index}", data, offset)
        self.send(type="digest", serial=serial, index=index, sha256=hashlib.sha256(data).hexdigest())

    def _settle_get(self, serial: int) -> None:
        names = self._names(serial)
        whole = [
            (serial, f"file/{index}") in self.acked and self.acked[serial, f"file/{index}"] == len(self.files[name])
            for index, name in enumerate(names)
        ]
        if all(whole):
            self.end(serial, "exited")

    def on_failed(self, message: dict[str, Any]) -> None:
        """The server does not want it, or cannot."""
        self.end(message["serial"], "failed", error=message["error"])

    def on_put(self, message: dict[str, Any]) -> None:
        """Ask for files."""
        serial = message["serial"]
        self.put.setdefault(serial, []).extend(message["files"])
        if message["more"] or serial in self.records:
            return
        self.ran[serial] += 1
        self.records[serial] = {"state": "running"}
        self._want_files(serial)

    def _want_files(self, serial: int) -> None:
        missing = [index for index in range(len(self.put[serial])) if (serial, index) not in self.arrived]
        if not missing:  # a test has put it there
            self.end(serial, "exited")
        for index in missing[:4]:
            have = len(self.growing.setdefault((serial, index), bytearray()))
            self.send(type="want", serial=serial, stream=f"file/{index}", offset=have)

    def on_data(self, message: dict[str, Any]) -> None:
        """A piece of a file."""
        serial, stream, offset = message["serial"], message["stream"], message["offset"]
        index = int(stream.partition("/")[2])
        growing = self.growing[serial, index]
        assert offset <= len(growing)
        growing[offset:] = message["data"]
        info = self.put[serial][index]
        if len(growing) == info["size"]:
            assert hashlib.sha256(growing).hexdigest() == info["sha256"]
            self.files[f"/files/{info['name']}"] = bytes(growing)
            self.arrived.add((serial, index))
            following = max(other for own, other in self.growing if own == serial) + 1
            if following < len(self.put[serial]):
                self.growing[serial, following] = bytearray()
                self.send(type="want", serial=serial, stream=f"file/{following}", offset=0)
        self.send(type="ack", serial=serial, stream=stream, offset=len(growing))
        if all((serial, number) in self.arrived for number in range(len(self.put[serial]))):
            self.end(serial, "exited")
