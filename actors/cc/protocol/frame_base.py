"""What all messages of the agent's protocol are built from: bounded fields, and the classes that say who sends what."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from shims.agent.line import wire

Count = Annotated[int, Meta(ge=0, le=2**53)]
Word = Annotated[str, Meta(max_length=256)]
Sentence = Annotated[str, Meta(max_length=4096)]
Chunk = Annotated[bytes, Meta(max_length=wire.CHUNK)]
Addresses = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=1024)]
Text = str | bytes
"""A name of a file or a word of a command: bytes where it is not UTF-8."""
MAX_TEXT: Final = 4096


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="frame"):
    """Base of all messages."""


class AgentFrame(Frame, frozen=True, kw_only=True, tag="agent"):
    """Base of what agents send."""


class BothWays(AgentFrame, frozen=True, kw_only=True, tag="both"):
    """Base of what either end sends."""


def text(value: str) -> Text:
    """A word or a name as it travels: those that the system gave are surrogate-escaped where they are not UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")
    return value


def shown(value: Text) -> str:
    """A word or a name of a guest, as it may be shown and kept: always UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
