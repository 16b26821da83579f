from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.server.stream import MAX_DEPTH, MAX_REQUEST, RequestStream, SocketRequest, StreamError, parse_request


def read(*chunks: bytes) -> tuple[list[SocketRequest], bool]:
    stream = RequestStream()
    requests = [request for chunk in chunks for request in stream.feed(chunk)]
    return requests, stream.broken is not None


@pytest.mark.parametrize(
    "text",
    [
        b'{"Command":"vm info"}',
        b'{"Command":"vm info","Suggest":"","PlumbPipe":""}\n',
        b'  {"COMMAND":"x","command":"vm info","Other":[1,{"a":null}],"Suggest":null}',
    ],
)
def test_one_request(text: bytes) -> None:
    assert read(text) == ([SocketRequest("vm info")], False)


def test_several_in_one_packet_and_one_over_several() -> None:
    text = b'{"Command":"a"}{"Suggest":"b"}\n\n {"PlumbPipe":"c"}'
    expected = [SocketRequest("a"), SocketRequest(suggest="b"), SocketRequest(plumb_pipe="c")]
    assert read(text) == (expected, False)
    assert read(*(bytes([byte]) for byte in text)) == (expected, False)


def test_null_is_an_empty_request() -> None:
    assert read(b"null{}") == ([SocketRequest(), SocketRequest()], False)
    assert read(b"nu", b"ll") == ([SocketRequest()], False)


def test_strings_may_hold_anything() -> None:
    command = '} ] { " \\ \n \u2028 é'
    assert read(json.dumps({"Command": command}).encode()) == ([SocketRequest(command)], False)


@pytest.mark.parametrize(
    "text",
    [
        b"5",
        b'"x"',
        b"[]",
        b"nope",
        b"true",
        b"{]",
        b"{x}",
        b'{"Command":5}',
        b'{"Command":["x"]}',
        b'{"Command":"a\nb"}',
        b'{"x":' + b"9" * 10_000 + b"}",
        b'{"x":' + b"[" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_no_request_breaks_the_stream(text: bytes) -> None:
    requests, broken = read(b'{"Command":"before"}' + text, b'{"Command":"after"}')
    assert (requests, broken) == ([SocketRequest("before")], True)


@pytest.mark.parametrize(
    "text", [b"{version", b"{ 'Command'", b'{"Command":"version\n', b'{"Command" = "a"', b'{"a":{"b":x']
)
def test_what_cannot_become_a_request_is_noticed_before_its_end(text: bytes) -> None:
    assert read(text) == ([], True)


def test_the_size_of_a_request_is_bounded() -> None:
    stream = RequestStream()
    chunk = b"x" * 1_048_576
    stream.feed(b'{"Command":"')
    for _ in range(MAX_REQUEST // len(chunk)):
        stream.feed(chunk)
    assert stream.broken is not None


def test_invalid_text_is_replaced() -> None:
    assert parse_request(b'{"Command":"a\xff"}').command == "a\ufffd"
    assert parse_request(b'{"Command":"a\\ud800"}').command == "a\ufffd"


@given(st.binary(max_size=200))
def test_any_bytes_give_requests_or_break_the_stream(data: bytes) -> None:
    requests, _ = read(b"{", data)
    assert all(isinstance(request, SocketRequest) for request in requests)


@given(st.binary(max_size=200))
def test_any_value_is_a_request_or_an_error(data: bytes) -> None:
    try:
        parse_request(b"{" + data + b"}")
    except StreamError as error:
        assert str(error)


@given(st.lists(st.text(max_size=8), max_size=5), st.lists(st.integers(1, 9), max_size=40))
def test_cuts_between_packets_do_not_matter(commands: list[str], cuts: list[int]) -> None:
    clean = [command.encode("utf-8", "replace").decode() for command in commands]
    text = b"".join(json.dumps({"Command": command}).encode() for command in clean)
    chunks, position = [], 0
    for cut in cuts:
        chunks.append(text[position : position + cut])
        position += cut
    assert read(*chunks, text[position:]) == ([SocketRequest(command) for command in clean], False)
