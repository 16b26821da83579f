"""Whole messages in a run of bytes: lines, or frames with a length before each. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one message."""
MAX_WRITE = 2 * MAX_MESSAGE
"""Bytes written at once. The envelope of a batch is larger than that of a write, and no frame may exceed 64 MiB."""
LENGTH = struct.Struct(">I")


class MessageError(ValueError):
    """These bytes are no whole messages; `str()` is one sentence."""


@dataclass(frozen=True, slots=True)
class Content:
    """Whole messages, one after the other."""

    data: bytes
    count: int
    framed: bool = False
    repeated: bool = False


def content_of(data: bytes, *, framed: bool = False, repeated: bool = False) -> Content:
    """Check and count what a writer sent; a last line without its newline gets one. Raises MessageError."""
    if len(data) > MAX_WRITE:
        raise MessageError(f"more than {MAX_WRITE} bytes are written at once")
    if framed:
        return Content(data, len(split(data, framed=True)), framed, repeated)
    if not data.endswith(b"\n"):
        data += b"\n"
    count = data.count(b"\n")
    if len(data) > MAX_MESSAGE and max(map(len, data.split(b"\n"))) > MAX_MESSAGE:
        raise MessageError(f"a message is longer than {MAX_MESSAGE} bytes")
    return Content(data, count, framed, repeated)


def split(data: bytes, *, framed: bool) -> list[bytes]:
    """Each message as it stands in the data, with its newline or its length. Raises MessageError."""
    if not framed:
        return [line + b"\n" for line in data.split(b"\n")[:-1]]
    messages: list[bytes] = []
    position = 0
    while position < len(data):
        if len(data) - position < LENGTH.size:
            raise MessageError("a frame ends within its length")
        (length,) = LENGTH.unpack_from(data, position)
        end = position + LENGTH.size + length
        if length > MAX_MESSAGE:
            raise MessageError(f"a message is longer than {MAX_MESSAGE} bytes")
        if end > len(data):
            raise MessageError(f"a frame says {length} bytes, and {len(data) - position - LENGTH.size} are there")
        messages.append(data[position:end])
        position = end
    return messages


def last_of(content: Content) -> bytes:
    """The last message, as `split` would give it; empty if there is none."""
    if content.framed:
        return split(content.data, framed=True)[-1] if content.count else b""
    return content.data[content.data.rfind(b"\n", 0, -1) + 1 :]


def payload(message: bytes, *, framed: bool) -> bytes:
    """A message of `split` without its newline or length."""
    return message[LENGTH.size :] if framed else message[:-1]


def frame(message: bytes) -> bytes:
    """Any bytes as a framed message."""
    return LENGTH.pack(len(message)) + message


def as_lines(data: bytes, *, framed: bool) -> bytes:
    """Messages as lines, for a reader of text; a framed one that lacks a newline at its end gets one."""
    if not framed:
        return data
    messages = (payload(message, framed=True) for message in split(data, framed=True))
    return b"".join(message if message.endswith(b"\n") else message + b"\n" for message in messages)


def as_frames(data: bytes, *, framed: bool) -> bytes:
    """Messages as frames, for a reader of binary data; a line goes without its newline."""
    if framed:
        return data
    return b"".join(frame(line) for line in data.split(b"\n")[:-1])
