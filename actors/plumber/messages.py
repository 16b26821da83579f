"""Whole messages in a run of bytes; their readers and writers need that too, so it is in `bus.pipe_messages`."""

from bus.pipe_messages import (
    LENGTH,
    MAX_MESSAGE,
    MAX_WRITE,
    Content,
    MessageError,
    content_of,
    frame,
    last_of,
    payload,
    split,
)

__all__ = [
    "LENGTH",
    "MAX_MESSAGE",
    "MAX_WRITE",
    "Content",
    "MessageError",
    "content_of",
    "frame",
    "last_of",
    "payload",
    "split",
]
