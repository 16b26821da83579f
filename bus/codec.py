"""The only place where messages become bytes and bytes become messages."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Union

import msgpack
import msgspec

import bus.messages  # noqa: F401 - makes every message class known
from bus.errors import MalformedError, UnknownTypeError
from bus.messages.base import Message
from bus.messages.envelope import PROTOCOL_VERSION, Envelope

MAX_BODY = 64 * 1024 * 1024
"""Bytes; nothing larger is decoded. The broker's sockets refuse it before (ZMQ_MAXMSGSIZE)."""

# ValueError: text that is not UTF-8 (msgspec 0.22).
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_encoder = msgspec.msgpack.Encoder()
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)


def _subclasses(klass: type[Message]) -> Iterator[type[Message]]:
    for child in klass.__subclasses__():
        yield child
        yield from _subclasses(child)


@functools.cache
def registry() -> dict[str, type[Message]]:
    """Tag to class, for every message class; raises TypeError when two claim the same tag."""
    table: dict[str, type[Message]] = {}
    for klass in _subclasses(Message):
        if klass.__subclasses__():
            continue  # a base: nobody sends it
        tag = str(klass.__struct_config__.tag)
        if table.setdefault(tag, klass) is not klass:
            raise TypeError(f"{klass.__name__} and {table[tag].__name__} have the same tag {tag}")
    return table


@functools.cache
def _body_decoder() -> msgspec.msgpack.Decoder[Any]:
    # A union built at run time: type checkers cannot know it, every use goes through decode_body.
    return msgspec.msgpack.Decoder(Union[tuple(registry().values())])  # noqa: UP007


def warm_up() -> None:
    """Build what decoding needs now, so that processes forked from this one share it: a megabyte each."""
    _body_decoder()


def tag_of(message: Message | type[Message]) -> str:
    """The wire name of a message, e.g. `vm.start`."""
    return str(message.__struct_config__.tag)


def encode(message: msgspec.Struct) -> bytes:
    """An envelope or a message as msgpack map."""
    return _encoder.encode(message)


def decode_envelope(data: bytes) -> Envelope:
    """Read an envelope; raises MalformedError."""
    try:
        envelope = _envelope_decoder.decode(data)
    except _UNREADABLE as error:
        raise MalformedError(f"not an envelope: {error}") from error
    if envelope.v != PROTOCOL_VERSION:
        raise MalformedError(f"protocol version {envelope.v}, expected {PROTOCOL_VERSION}")
    return envelope


class _Sender(msgspec.Struct):
    sender: str = ""


_sender_decoder = msgspec.msgpack.Decoder(_Sender)


def sender(head: bytes) -> str:
    """The sender that an envelope names; empty if it cannot be read. Much quicker than reading the envelope."""
    try:
        return _sender_decoder.decode(head).sender
    except _UNREADABLE:
        return ""


def request_id(data: bytes) -> str:
    """The id of a request whose envelope is not of this version; empty if it is none."""
    try:
        envelope = msgpack.unpackb(data)
        kind, msg_id = envelope["kind"], envelope["id"]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return ""
    return msg_id if kind == "request" and isinstance(msg_id, str) else ""


def decode_body(data: bytes) -> Message:
    """Read a message; raises UnknownTypeError for a type this version lacks, MalformedError for the rest."""
    if len(data) > MAX_BODY:
        raise MalformedError(f"message of {len(data)} bytes, at most {MAX_BODY} are allowed")
    try:
        message: Message = _body_decoder().decode(data)
    except msgspec.ValidationError as error:
        if "Invalid value" in str(error) and "$.type" in str(error):
            raise UnknownTypeError(f"unknown message type: {error}") from error
        raise MalformedError(f"not a valid message: {error}") from error
    except _UNREADABLE as error:
        raise MalformedError(f"not a valid message: {error}") from error
    return message


def decode_unknown(data: bytes) -> Any:
    """Read any msgpack value, for tools that show messages they have no class for; raises MalformedError."""
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:  # TypeError: unhashable keys
        raise MalformedError(f"not msgpack: {error}") from error


def to_builtins(message: msgspec.Struct) -> Any:
    """The message as plain dicts, lists and scalars."""
    return msgspec.to_builtins(message)


def from_builtins(value: Any) -> Message:
    """A message from what `to_builtins` gave; raises MalformedError or UnknownTypeError."""
    tag = value.get("type") if isinstance(value, dict) else None
    klass = registry().get(str(tag))
    if klass is None:
        raise UnknownTypeError(f"unknown message type {tag!r}")
    try:
        return msgspec.convert(value, klass)
    except msgspec.ValidationError as error:
        raise MalformedError(f"not a valid {tag}: {error}") from error
