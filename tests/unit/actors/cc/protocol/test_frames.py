"""What agents send: whatever the bytes are, they become a frame, nothing, or a WireError."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cc.protocol import frames
from shims.agent.line.wire import MAX_BODY, PREAMBLE, FrameReader, WireError
from shims.agent.line.wire import decode as decode_plain

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
TAGS = sorted(str(leaf.__struct_config__.tag) for leaf in frames._leaves(frames.AgentFrame))
FIELDS = sorted({field for leaf in frames._leaves(frames.AgentFrame) for field in leaf.__struct_fields__})


def outcome(body: bytes) -> object:
    """A frame, None or the class of the refusal."""
    try:
        return frames.decode(body)
    except WireError as error:
        return type(error)


@given(st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    assert outcome(body) is None or outcome(body) is WireError or isinstance(outcome(body), frames.AgentFrame)


@given(st.sampled_from(TAGS), st.dictionaries(st.sampled_from(FIELDS), plain, max_size=8))
def test_any_fields(tag: str, fields: dict[str, Any]) -> None:
    outcome(msgpack.packb({**fields, "type": tag}))


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"type": "ping", "n": 3, "new": "field"}, frames.Ping(n=3)),
        ({"type": "pong"}, frames.Pong(n=0)),
        ({"type": "something else"}, None),
        ({"type": "file", "serial": 1, "index": 2, "name": b"\xff"}, frames.File(serial=1, index=2, name=b"\xff")),
        ({"type": "dial", "connection": 1, "tunnel": 2, "host": "x"}, frames.GuestDial(connection=1, tunnel=2)),
        ({"type": "data", "serial": 1, "stream": "stdout", "offset": -1}, WireError),
        ({"type": "data", "serial": 2**60, "stream": "stdout", "offset": 0}, WireError),
        ({"type": "data", "serial": 1, "stream": "stdout", "offset": 0, "data": b"x" * 65_537}, WireError),
        ({"type": "data", "serial": 1, "stream": "stdout", "offset": 0, "data": "text"}, WireError),
        ({"type": "done", "serial": 1, "outcome": "fine"}, WireError),
        ({"type": "hello", "versions": [1] * 65}, WireError),
        ({"type": "hello", "versions": [1], "uuid": "x" * 257}, WireError),
        ({"type": "process", "pid": 1, "argv": [1]}, WireError),
        ({"type": "file", "serial": 1, "index": 2, "name": 5}, WireError),
        ({"type": "file", "serial": 1, "index": 2, "name": "x" * 5000}, WireError),
        ({"type": "tag", "number": 1, "key": "k", "value": "v" * 20_000}, WireError),
        ({"type": "run", "serial": 1}, None),
        ({"type": 5}, WireError),
        ({}, WireError),
    ],
)
def test_decode(message: dict[str, Any], wanted: object) -> None:
    assert outcome(msgpack.packb(message)) == wanted


def test_depth_has_a_bound() -> None:
    assert outcome(b"\x91" * 100_000) is WireError
    nested = msgpack.packb({"type": "ping"})[:-5] + b"\xa1x" + b"\x91" * 100_000
    assert outcome(nested) in (WireError, None)


@pytest.mark.parametrize(
    "frame",
    [
        frames.Welcome(session=1, server="s", ledger="l", keepalive_s=1.0, window=2),
        frames.Run(serial=1, argv=("a", b"\xff"), background=False, timeout_s=0.0, stdin="", stdout="", stderr=""),
        frames.Put(serial=1, first=0, files=(frames.PutFile(name="n", size=1, mode=2, sha256="s"),), more=False),
        frames.Dial(connection=2, host="h", port=3),
        frames.Data(serial=1, stream="file/0", offset=0, data=b"x" * 65_536, eof=True),
    ],
)
def test_what_is_sent_is_plain_and_whole(frame: frames.Frame) -> None:
    reader = FrameReader()
    preamble, body = reader.feed(PREAMBLE + frames.encode(frame))
    assert preamble is None and body is not None
    message = decode_plain(body)
    assert message["type"] == frame.__struct_config__.tag
    assert set(message) == {"type", *frame.__struct_fields__}


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(ValueError, match="no more than"):
        frames.encode(frames.Get(serial=1, patterns=("x" * MAX_BODY,)))


@given(st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_names_that_are_not_utf_8_travel_as_bytes(name: str) -> None:
    travelling = frames.text(name)
    raw = travelling if isinstance(travelling, bytes) else travelling.encode()
    assert raw.decode("utf-8", "surrogateescape") == name
    frames.shown(travelling).encode()


def test_every_tag_has_one_meaning_in_each_direction() -> None:
    assert len(TAGS) == len(set(TAGS))
    ours = [leaf for leaf in frames._leaves(frames.Frame) if not issubclass(leaf, frames.AgentFrame)]
    tags = [str(leaf.__struct_config__.tag) for leaf in ours]
    assert len(tags) == len(set(tags))
    assert all(issubclass(leaf, msgspec.Struct) for leaf in ours)
