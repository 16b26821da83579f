"""Golden messages: what peers of an earlier version send, and what a plain msgpack reader makes of ours."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgpack
import msgspec
import pytest

from bus import codec
from bus.errors import MalformedError
from bus.messages.envelope import Envelope
from tools.vectors import DIRECTORY, ENVELOPE, example, golden, messages

CLASSES: dict[str, type[msgspec.Struct]] = {ENVELOPE: Envelope, **messages()}
TAGS = [pytest.param(tag, id=tag) for tag in CLASSES]


@cache
def vector(tag: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a golden file and the map they are."""
    content = json.loads((DIRECTORY / f"{tag}.json").read_text(), object_hook=_bytes)
    return bytes.fromhex(content["msgpack"]), content["value"]


def _bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else value


def decoded(tag: str, data: bytes) -> msgspec.Struct:
    """Read by our codec."""
    return codec.decode_envelope(data) if tag == ENVELOPE else codec.decode_body(data)


def test_every_message_has_its_golden_file_and_no_message_has_gone() -> None:
    assert {path.stem for path in DIRECTORY.iterdir()} == set(CLASSES), "run `just vectors`, or a type has disappeared"


@pytest.mark.parametrize("tag", TAGS)
def test_a_plain_reader_sees_the_map(tag: str) -> None:
    data, value = vector(tag)
    assert msgpack.unpackb(data) == value
    if tag != ENVELOPE:
        assert value["type"] == tag


@pytest.mark.parametrize("tag", TAGS)
def test_our_codec_reads_it_and_writes_the_same_fields(tag: str) -> None:
    data, value = vector(tag)
    message = decoded(tag, data)
    assert type(message) is CLASSES[tag]
    again = codec.encode(message)
    assert decoded(tag, again) == message
    assert contains(msgpack.unpackb(again), value)


def contains(whole: Any, part: Any) -> bool:
    """Whether a map has every key of another, with the same value; new fields may have come."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(whole, list) and isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


def with_extra(value: Any) -> Any:
    """The same with a field nobody knows in every map that has fields."""
    if isinstance(value, list):
        return [with_extra(item) for item in value]
    if isinstance(value, dict):
        grown = {key: with_extra(item) for key, item in value.items()}
        return grown if any(" key" in key for key in grown) else {**grown, "of_a_later_version": [1, {"x": None}]}
    return value


@pytest.mark.parametrize("tag", TAGS)
def test_fields_of_a_later_version_are_ignored(tag: str) -> None:
    data, value = vector(tag)
    grown = msgpack.packb({**with_extra(value)})
    assert decoded(tag, grown) == decoded(tag, data)


@pytest.mark.parametrize("tag", TAGS)
def test_fields_that_are_left_out_get_their_defaults(tag: str) -> None:
    _, value = vector(tag)
    fields = msgspec.structs.fields(CLASSES[tag])
    required = {field.name for field in fields if field.required} | ({"type"} if tag != ENVELOPE else set())
    message = decoded(tag, msgpack.packb({key: item for key, item in value.items() if key in required}))
    for field in fields:
        if not field.required:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            assert getattr(message, field.name) == default


@pytest.mark.parametrize("tag", TAGS)
def test_a_required_field_that_is_missing_is_malformed(tag: str) -> None:
    _, value = vector(tag)
    for field in msgspec.structs.fields(CLASSES[tag]):
        if field.required:
            with pytest.raises(MalformedError, match=f"`{field.name}`"):
                decoded(tag, msgpack.packb({key: item for key, item in value.items() if key != field.name}))


def test_examples_differ_from_every_default_so_that_all_fields_are_in_the_files() -> None:
    for tag, klass in CLASSES.items():
        written = json.loads(golden(example(klass)))["value"]
        fields = {field.encode_name for field in msgspec.structs.fields(klass)}
        assert set(written) == (fields if tag == ENVELOPE else fields | {"type"})
