"""Frames of the agent's protocol, for both ends (docs/agent-protocol.md): a length, a checksum, a msgpack map.

A serial line has no beginning and no end, and what was under way when a peer died stays in it. So each session begins
with a preamble that a reader looks for, and whatever does not fit its checksum sends the reader back to looking.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack

PREAMBLE = b"\xf5\xf6minibus-agent\r\n"
"""Bytes that UTF-8 has not (RFC 3629), so that no text of a boot loader or a shell is taken for a session."""
MAX_BODY = 128 * 1024
CHUNK = 64 * 1024
"""Data in one frame, at most."""
_HEADER = struct.Struct("!II")
FLUSH = b"\xff" * (MAX_BODY + _HEADER.size)
"""Sent before the preamble on a serial line that somebody else may have left in the middle of a frame: it makes any
frame whole, with a checksum that does not fit, and the reader looks for the preamble."""
_MAX_ITEMS = 4096


class WireError(Exception):
    """The bytes are no frames; `str()` says why."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame; raises ValueError if it is larger than a peer may take."""
    return framed(msgpack.packb(message, use_bin_type=True))


def framed(body: bytes) -> bytes:
    """A body that is msgpack already, as a frame; raises ValueError as `encode` does."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a frame of {len(body)} bytes, and no more than {MAX_BODY} are allowed")
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def sendable(text: str) -> str:
    """A text of the system in which bytes that are not UTF-8 were escaped (PEP 383), so that it can travel."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class FrameReader:
    """Takes bytes as they come, gives the bodies of whole frames. `session` tells where a new session began."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._synced = False
        self._lost = False
        self.skipped = 0
        """Bytes that belonged to no frame."""

    @property
    def lost(self) -> bool:
        """Whether a session had begun, and what came since is no frame."""
        return self._lost and not PREAMBLE.startswith(self._buffer)  # a preamble may come in pieces

    def feed(self, data: bytes) -> list[bytes | None]:
        """Bodies in order; None where a preamble began a new session, and all before it is void.

        Never raises and never keeps more than one frame and a preamble.
        """
        self._buffer += data
        found: list[bytes | None] = []
        while True:
            if not self._synced:
                if not self._skip_to_preamble():
                    return found
                self._synced, self._lost = True, False
                found.append(None)
            body = self._frame(found)
            if body is None:
                if self._synced:
                    return found
                self._lost = True
                continue
            found.append(body)

    def _skip_to_preamble(self) -> bool:
        at = self._buffer.find(PREAMBLE)
        if at < 0:
            keep = len(PREAMBLE) - 1
            self.skipped += max(0, len(self._buffer) - keep)
            del self._buffer[:-keep]
            return False
        self.skipped += at
        del self._buffer[: at + len(PREAMBLE)]
        return True

    def _frame(self, found: list[bytes | None]) -> bytes | None:
        """The next body; None if it has not come whole, or, with `_synced` gone, if these are no frames."""
        if len(self._buffer) < _HEADER.size:
            return None
        if self._buffer.startswith(PREAMBLE[: _HEADER.size]):
            self._synced = False  # as a length it would be far too large
            return None
        length, checksum = _HEADER.unpack_from(self._buffer)
        if length > MAX_BODY:
            self._synced = False
            return None
        if len(self._buffer) < _HEADER.size + length:
            return None
        body = bytes(self._buffer[_HEADER.size : _HEADER.size + length])
        if zlib.crc32(body) != checksum:
            self._synced = False  # the preamble may be inside what was taken for a body
            return None
        del self._buffer[: _HEADER.size + length]
        return body


def decode(body: bytes) -> dict[str, Any]:
    """The map in a body; raises WireError. Its fields are still to be checked."""
    try:
        message = msgpack.unpackb(
            body, raw=False, strict_map_key=True, max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS
        )
    except Exception as error:  # msgpack raises a dozen kinds for hostile bytes
        raise WireError(f"not msgpack: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WireError("not a map with a `type`")
    return message


def decode_frames(data: bytes) -> Iterator[bytes]:
    """The bodies of frames that follow each other without a preamble, up to the first that is torn."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + _HEADER.size + length]
        if len(body) < length or zlib.crc32(body) != checksum:
            return
        yield body
        at += _HEADER.size + length
