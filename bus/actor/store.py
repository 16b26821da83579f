"""A journal of inputs and a snapshot of the state they led to.

The journal is a file of msgpack maps, one a record; a torn tail (power loss, full disk) is cut off on opening. Records
reach the kernel with `write()` before anything is done about them, so no kill of any process loses one; `fdatasync`
follows in groups. A snapshot replaces all records up to its number, by atomic rename.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

MAX_RECORD = 64 * 1024 * 1024
SNAPSHOT_AFTER_RECORDS = 5_000
SNAPSHOT_AFTER_BYTES = 16 * 1024 * 1024


class Store:
    """Journal and snapshot of one actor. One process at a time: the actor's lock sees to that."""

    def __init__(self, directory: Path) -> None:
        """Open, making the directory if needed; raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._journal_path = directory / "journal"
        self._fd = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._end = 0
        self._records = 0
        self._snapshot_bytes = 0
        self._dirty = False
        self.last = 0
        """Number of the last record written or read."""

    def read(self) -> tuple[bytes | None, list[dict[str, Any]]]:
        """The snapshot, if there is one, and the records after it in order; cuts off a torn tail.

        Each record has its number under `n`.
        """
        snapshot, done = self._read_snapshot()
        self.last = done
        records = []
        for record, end in self._scan():
            self._end = end
            number = record.get("n", 0)
            if number > self.last:
                records.append(record)
                self.last = number
        os.ftruncate(self._fd, self._end)
        self._records = len(records)
        return snapshot, records

    def append(self, record: dict[str, Any], *, durable: bool = False) -> None:
        """Write one record, with `durable` to the disk; it gets the next number. Raises OSError: nothing is written."""
        data: bytes = msgpack.packb({**record, "n": self.last + 1})
        try:
            written = os.pwrite(self._fd, data, self._end)
            if written < len(data):
                raise OSError(28, "No space left on device", str(self._journal_path))
            if durable:
                os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)
        self._records += 1
        self._dirty = True
        self.last += 1

    @property
    def wants_snapshot(self) -> bool:
        """Whether the journal has grown enough for replay to become slow."""
        grown = self._records >= SNAPSHOT_AFTER_RECORDS or self._end >= SNAPSHOT_AFTER_BYTES
        return grown and self._end >= self._snapshot_bytes // 4  # a large state is not written for each bit of news

    def snapshot(self, state: bytes) -> None:
        """Replace the records so far by this state; raises OSError, and then all is as before."""
        temporary = self._directory / "snapshot.new"
        data: bytes = msgpack.packb({"n": self.last, "state": state})
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "wb", closefd=False) as file:
                    file.write(data)
                os.fdatasync(fd)
            finally:
                os.close(fd)
            temporary.replace(self._directory / "snapshot")
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        # A crash here leaves records that the snapshot's number covers: they are skipped.
        os.ftruncate(self._fd, 0)
        self._end = self._records = 0
        self._snapshot_bytes = len(data)

    @property
    def dirty(self) -> bool:
        """Whether something was written that the disk may not have yet."""
        return self._dirty

    def sync(self) -> None:
        """Have the disk take what was written; cheap when there is nothing new. Raises OSError."""
        if self._dirty:
            self._dirty = False  # before: what is appended meanwhile, by another thread, may not be on the disk
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        """Sync and close; harmless when repeated."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self.sync()
            os.close(self._fd)
            self._fd = -1

    def _read_snapshot(self) -> tuple[bytes | None, int]:
        try:
            data = (self._directory / "snapshot").read_bytes()
        except FileNotFoundError:
            return None, 0
        self._snapshot_bytes = len(data)
        try:
            content = msgpack.unpackb(data)
            return content["state"], content["n"]
        except (ValueError, msgpack.UnpackException, KeyError, TypeError) as error:
            raise OSError(5, f"damaged snapshot: {error}", str(self._directory / "snapshot")) from error

    def _scan(self) -> Iterator[tuple[dict[str, Any], int]]:
        unpacker = msgpack.Unpacker(max_buffer_size=2 * MAX_RECORD, strict_map_key=False)
        offset = 0
        while chunk := os.pread(self._fd, 1 << 20, offset):
            offset += len(chunk)
            try:
                unpacker.feed(chunk)
                for record in unpacker:
                    if not isinstance(record, dict):
                        return
                    yield record, unpacker.tell()
            except (ValueError, TypeError, msgpack.UnpackException):  # TypeError: unhashable keys
                return
