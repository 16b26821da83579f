"""JSON strings out of a byte stream, however it is cut."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.server import string_stream
from cli.server.stream import StreamError
from cli.server.string_stream import StringStream


def pieces(data: bytes, seed: int) -> list[bytes]:
    """The data cut at random places."""
    chance = random.Random(seed)
    places = sorted(chance.sample(range(len(data) + 1), min(len(data), chance.randrange(6))))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    st.sampled_from(["", " ", "\n", "\r\n\t"]),
    st.booleans(),
    st.integers(),
)
def test_every_string_comes_once_and_in_order(texts: list[str], blanks: str, ascii_only: bool, seed: int) -> None:
    data = blanks.join(json.dumps(text, ensure_ascii=ascii_only) for text in texts).encode()
    stream = StringStream()
    assert [text for piece in pieces(data, seed) for text in stream.feed(piece)] == texts


@given(st.binary())
def test_no_bytes_break_it(data: bytes) -> None:
    stream = StringStream()
    try:
        found = stream.feed(data)
    except StreamError:
        return
    text = "".join(found)
    assert text.encode().decode() == text


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b'"a\\n""b"', ["a\n", "b"]),
        (b'null "x" null', ["x"]),
        (b'"\xff"', ["\ufffd"]),
        (b'"\\ud800"', ["\ufffd"]),
        (b'"\\ud83d\\ude00"', ["\U0001f600"]),
        (b'"open', []),
        (b'"open\\', []),
        (b'"open\\"', []),
        (b"nul", []),
        (b"  ", []),
    ],
)
def test_what_is_understood(data: bytes, texts: list[str]) -> None:
    assert StringStream().feed(data) == texts


@pytest.mark.parametrize("data", [b"5", b"{", b"[1]", b'"a" x', b'"a\nb"', b'"\\x"', b'"\\u12"', b"nulx", b'{"a":"b"}'])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(StreamError):
        StringStream().feed(data)


def test_a_string_in_tiny_pieces() -> None:
    stream = StringStream()
    data = json.dumps('say "x" \\ \u00fc' * 10, ensure_ascii=False).encode()
    found = [text for byte in data for text in stream.feed(bytes([byte]))]
    assert found == ['say "x" \\ \u00fc' * 10]


def test_a_string_without_an_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_stream, "MAX_TEXT", 1_000)
    stream = StringStream()
    stream.feed(b'"')
    with pytest.raises(StreamError, match="longer than 1000 characters"):
        for _ in range(100):
            stream.feed(b"x" * 99)
