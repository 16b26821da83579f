"""The host's kernel, for tests of what agents serve: it asks in bytes that are put together here."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from shims.agent.mounts import fuse
from shims.agent.mounts.server import Server

PAGE = 4096


class Kernel:
    """Asks as the host's kernel does; `refused` is the errno of a refusal."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = Server(os.fsencode(root))
        self.unique = 0
        self.refused = 0

    def ask(self, operation: int, node: int = fuse.ROOT_ID, body: bytes = b"") -> bytes:
        """The body of a reply; empty if it is a refusal."""
        self.unique += 2
        header = fuse.HEADER_IN.pack(fuse.HEADER_IN.size + len(body), operation, self.unique, node, 0, 0, 1, 0, 0)
        reply = self.server.take(header + body)
        if operation in fuse.SILENT:
            assert reply is None
            return b""
        assert reply is not None
        assert fuse.answered(reply) == self.unique
        _, error, _ = fuse.HEADER_OUT.unpack_from(reply)
        self.refused = -error
        return reply[fuse.HEADER_OUT.size :]

    def look(self, name: bytes | str, node: int = fuse.ROOT_ID) -> int:
        """The node of a name; 0 if there is none."""
        entry = self.ask(fuse.LOOKUP, node, os.fsencode(name) + b"\0")
        return int(struct.unpack_from("=Q", entry)[0]) if entry else 0

    def open(self, node: int, flags: int = os.O_RDONLY) -> int:
        """The handle of a file."""
        reply = self.ask(fuse.OPEN, node, fuse.OPEN_IN.pack(flags, 0))
        return int(fuse.OPEN_OUT.unpack(reply)[0]) if reply else 0

    def read(self, handle: int, offset: int = 0, size: int = fuse.MAX_IO) -> bytes:
        """Of a file."""
        return self.ask(fuse.READ, 0, fuse.READ_IN.pack(handle, offset, size, 0, 0, 0, 0))

    def write(self, handle: int, data: bytes, offset: int = 0, size: int | None = None) -> bytes:
        """Into a file."""
        size = len(data) if size is None else size
        return self.ask(fuse.WRITE, 0, fuse.WRITE_IN.pack(handle, offset, size, 0, 0, 0, 0) + data)

    def set(self, node: int, which: int, handle: int = 0, **values: int) -> bytes:
        """Attributes."""
        times = ("atime", "mtime", "ctime", "atime_ns", "mtime_ns", "ctime_ns")
        names = ("size", "lock", *times, "mode", "x", "uid", "gid")
        body = fuse.SETATTR_IN.pack(which, 0, handle, *(values.get(name, 0) for name in names), 0)
        return self.ask(fuse.SETATTR, node, body)

    def opendir(self, node: int = fuse.ROOT_ID) -> int:
        """The handle of a directory."""
        return int(fuse.OPEN_OUT.unpack(self.ask(fuse.OPENDIR, node, fuse.OPEN_IN.pack(0, 0)))[0])

    def names(self, handle: int, size: int = PAGE, plus: bool = False) -> list[tuple[bytes, int, int, int]]:
        """Name, type, offset and node of all that a directory says."""
        found: list[tuple[bytes, int, int, int]] = []
        offset = 0
        while True:
            operation = fuse.READDIRPLUS if plus else fuse.READDIR
            body = self.ask(operation, fuse.ROOT_ID, fuse.READ_IN.pack(handle, offset, size, 0, 0, 0, 0))
            assert not self.refused and len(body) <= size
            if not body:
                return found
            while body:
                node = 0
                if plus:
                    (node,) = struct.unpack_from("=Q", body)
                    body = body[fuse.ENTRY_SIZE :]
                _, offset, length, kind = fuse.DIRENT.unpack_from(body)
                name = body[fuse.DIRENT.size :][:length]
                found.append((name, kind, offset, node))
                body = body[fuse.DIRENT.size + length + -(fuse.DIRENT.size + length) % 8 :]


def attributes(reply: bytes) -> dict[str, int]:
    """At the end of a reply."""
    names = ("ino", "size", "blocks", "atime", "mtime", "ctime", "atime_ns", "mtime_ns", "ctime_ns", "mode")
    values = fuse.ATTR.unpack(reply[-fuse.ATTR.size :])
    return dict(zip((*names, "links", "uid", "gid", "rdev", "blksize", "x"), values, strict=True))


def entries(directory: Path) -> list[str]:
    """Names in a directory, in order."""
    return sorted(path.name for path in directory.iterdir())
