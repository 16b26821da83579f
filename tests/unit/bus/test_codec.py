"""Messages to bytes and back, and what becomes of other bytes."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import codec
from bus.errors import BusError, MalformedError, UnknownTypeError
from bus.messages.base import Ack, Event, Message, Query, Request, reply_type
from bus.messages.control import Hello, Ping
from bus.messages.envelope import PROTOCOL_VERSION, Envelope
from bus.messages.vm import GetVms, StartVms, VmEvent, VmList, VmReport
from tests.unit.bus.strategies import structs_of
from tests.unit.examples import examples

OURS = [klass for klass in codec.registry().values() if klass.__module__.startswith("bus.messages.")]


@pytest.mark.parametrize("klass", OURS, ids=lambda klass: codec.tag_of(klass))
@settings(max_examples=examples(15))
@given(st.data())
def test_every_message_comes_back_as_it_was(klass: type[Message], data: st.DataObject) -> None:
    message = data.draw(structs_of(klass))
    encoded = codec.encode(message)
    assert codec.decode_body(encoded) == message
    assert codec.from_builtins(codec.to_builtins(message)) == message
    plain = codec.decode_unknown(encoded)
    assert isinstance(plain, dict)
    assert plain["type"] == codec.tag_of(message)


@given(structs_of(Envelope))
def test_every_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    envelope = msgspec.structs.replace(envelope, v=PROTOCOL_VERSION)
    assert codec.decode_envelope(codec.encode(envelope)) == envelope


@given(structs_of(VmList))
def test_a_journal_keeps_messages_as_they_were(message: VmList) -> None:
    packed = msgpack.packb({"body": codec.to_builtins(message)})
    assert codec.from_builtins(msgpack.unpackb(packed, strict_map_key=False)["body"]) == message


READERS = (codec.decode_body, codec.decode_envelope, codec.decode_unknown)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_bus_error(data: bytes) -> None:
    for read in READERS:
        with contextlib.suppress(MalformedError, UnknownTypeError):
            read(data)
    assert isinstance(codec.request_id(data), str)


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """These bytes with a few of them replaced, and perhaps cut short."""
    change = st.tuples(st.integers(0, len(original) - 1), st.integers(0, 255))

    def apply(changes: list[tuple[int, int]], end: int) -> bytes:
        data = bytearray(original)
        for at, value in changes:
            data[at] = value
        return bytes(data[:end])

    return st.builds(apply, st.lists(change, max_size=4), st.integers(0, len(original)))


@settings(max_examples=examples(300))
@given(mutated(codec.encode(Hello(actor="vm", epoch="e" * 40, pid=70_000))))
def test_damaged_messages_give_a_message_or_a_bus_error(data: bytes) -> None:
    for read in READERS:
        with contextlib.suppress(MalformedError, UnknownTypeError):
            read(data)


PLANTED: dict[str, Any] = {
    "unhashable key": b"\x83\xa4type\xa7failure\xa4code\xa1x\xa6detail\x81\xa1x\x81\x81\x01\x02\x01",
    "promised four billion items": b"\x82\xa4type\xa7failure\xa6detail\x81\xa1x\xdd\xff\xff\xff\xff",
    "deep": b"\x81\xa4type" + b"\x91" * 100_000,
    "list": msgpack.packb([1]),
    "no type": msgpack.packb({"actor": "vm"}),
    "type is a number": msgpack.packb({"type": 3}),
    "wrong field": msgpack.packb({"type": "vm.start", "target": 5}),
    "missing field": msgpack.packb({"type": "vm.start"}),
    "two values": msgpack.packb({"type": "control.ping"}) * 2,
    "not utf-8": b"\x82\xa4type\xa8vm.start\xa6target\xa1\x80",
    "type is not utf-8": b"\x81\xa4type\xa1\x80",
    "timestamp": msgpack.packb({"type": "vm.start", "target": msgpack.Timestamp(1)}),
}


@pytest.mark.parametrize("data", PLANTED.values(), ids=PLANTED.keys())
def test_planted_nonsense_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        codec.decode_body(data)
    with pytest.raises(MalformedError):
        codec.decode_envelope(data)


def test_an_unhashable_key_is_no_surprise_to_tools_either() -> None:
    with pytest.raises(MalformedError):
        codec.decode_unknown(b"\x81\x91\x01\x02")


@pytest.mark.parametrize("tag", ["vm.haunt", "", "message", "request", "query", "event", "vm.event"])
def test_a_type_that_is_not_there_is_unknown(tag: str) -> None:
    with pytest.raises(UnknownTypeError):
        codec.decode_body(msgpack.packb({"type": tag}))
    with pytest.raises(UnknownTypeError):
        codec.from_builtins({"type": tag})


@pytest.mark.parametrize("value", [None, 3, [], {}, {"type": None}, {"type": "vm.start"}, {"type": []}])
def test_plain_values_that_are_no_message_are_refused(value: object) -> None:
    with pytest.raises(BusError):
        codec.from_builtins(value)


def test_a_body_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_BODY", 10)
    with pytest.raises(MalformedError, match="at most 10"):
        codec.decode_body(codec.encode(StartVms(target="a" * 20)))


def test_another_version_is_refused_but_its_asker_can_be_told() -> None:
    data = msgpack.packb({"v": 2, "kind": "request", "id": "m1", "to": "vm", "later": True})
    with pytest.raises(MalformedError, match="protocol version 2, expected 1"):
        codec.decode_envelope(data)
    assert codec.request_id(data) == "m1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x81\x91\x01\x02",
        b"\x81\xa4kind\xa2\x80\x80",
        msgpack.packb([]),
        msgpack.packb({"kind": "event", "id": "m1"}),
        msgpack.packb({"kind": "request"}),
        msgpack.packb({"kind": "request", "id": 7}),
    ],
)
def test_only_a_request_has_an_asker_to_be_told(data: bytes) -> None:
    assert codec.request_id(data) == ""


def test_two_classes_cannot_claim_one_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twin(Message, frozen=True, kw_only=True, tag="control.ping"):
        """Clashes with Ping."""

    monkeypatch.setattr(codec, "_subclasses", lambda klass: iter([Ping, Twin]))
    with pytest.raises(TypeError, match=r"same tag control\.ping"):
        codec.registry.__wrapped__()


@pytest.mark.parametrize("klass", [klass for klass in OURS if issubclass(klass, Request)], ids=codec.tag_of)
def test_every_request_names_a_reply_that_can_be_sent(klass: type[Request[Any]]) -> None:
    assert reply_type(klass) in codec.registry().values()
    assert not issubclass(reply_type(klass), Request | Event)


def test_reply_types_are_found_through_generic_bases() -> None:
    assert [reply_type(klass) for klass in (Ping, GetVms, StartVms)] == [Ack, VmList, VmReport]
    with pytest.raises(TypeError, match="does not name its reply"):
        reply_type(Query)


def test_bases_are_not_sent() -> None:
    assert not {Message, Request, Query, Event, VmEvent} & set(codec.registry().values())
