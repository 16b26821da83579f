"""`minibus tap`: shows the events of the bus as they pass."""

from __future__ import annotations

import base64
import codecs
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from bus import codec
from bus.errors import InvalidError, MalformedError
from bus.library.losses import LossDetector
from bus.port import Delivery
from bus.topics import topic
from cli.looking.processes import run
from cli.place import Place, connected

SHOWN_BYTES = 512
"""Of one value that is bytes, e.g. the messages of a pipe that came together."""


def as_prefix(text: str) -> str:
    """The prefix that is meant: whole words of topics, as these are written.

    However it was typed: `my pipe` and `my%20pipe` are the same word. Raises InvalidError.
    """
    words = text.removesuffix("/").split("/") if text else []
    try:
        return topic(*map(unquote, words))
    except UnicodeEncodeError:
        raise InvalidError("that topic is not UTF-8 text") from None


def tap(place: Place, prefix: str, *, as_json: bool) -> int:
    """Print events whose topic begins with `prefix` until interrupted; returns the exit status."""
    return run(place, _follow(place, prefix, as_json))


async def _follow(place: Place, prefix: str, as_json: bool) -> int:
    detector = LossDetector()
    async with connected(place) as port:
        subscription = await port.subscribe(as_prefix(prefix))
        async for delivery in subscription:
            envelope = delivery.envelope
            missing = detector.lost(delivery.topic, envelope.epoch, envelope.topic_seq)
            if missing:
                sys.stderr.write(f"minibus: {missing} events on {delivery.topic} were lost\n")
            print(event_json(delivery) if as_json else event_line(delivery), flush=True)
    return 0


def event_json(delivery: Delivery) -> str:
    """The event as one JSON object."""
    envelope = delivery.envelope
    return _dump(
        {
            "topic": delivery.topic,
            "epoch": envelope.epoch,
            "seq": envelope.seq,
            "topic_seq": envelope.topic_seq,
            "time": envelope.time,
            "publisher": envelope.sender,
            "body": _body(delivery.body),
        }
    )


def event_line(delivery: Delivery) -> str:
    """Local time, topic, and the body on one line; bytes that are text are shown as such."""
    when = datetime.fromtimestamp(delivery.envelope.time, UTC).astimezone()
    body = _body(delivery.body)
    if isinstance(body, dict):
        body.pop("type", None)  # the topic says as much
    return f"{when:%H:%M:%S}.{when.microsecond // 1000:03d} {delivery.topic} {_dump(body, _readable)}"


def _body(data: bytes) -> Any:
    """Whatever the event holds; also messages that this version has no class for."""
    try:
        return codec.decode_unknown(data)
    except MalformedError:
        return data


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else repr(value)


def _readable(value: object) -> str:
    if not isinstance(value, bytes):
        return repr(value)
    beginning = value[:SHOWN_BYTES]
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(beginning)  # a character may be cut in two
    if "\ufffd" in text:
        text = _plain(beginning)
    return text if len(value) <= SHOWN_BYTES else f"{text}... ({len(value)} bytes)"


def _dump(value: Any, default: Callable[[object], str] = _plain) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default, skipkeys=True)
