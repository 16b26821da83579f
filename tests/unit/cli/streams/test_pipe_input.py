"""Stdin of `minibus pipe` in whole messages, however it is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.pipe_messages import MAX_MESSAGE
from cli.streams.pipe_input import READ_BYTES, Frames, InputError, Lines


def frame(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@given(st.lists(st.binary(max_size=20)))
def test_lines_are_whole_and_nothing_is_lost(pieces: list[bytes]) -> None:
    lines = Lines()
    given_ = b"".join(pieces)
    found = [lines.feed(piece) for piece in pieces]
    assert all(whole.endswith(b"\n") for whole in found if whole)
    assert b"".join(found) == given_[: given_.rfind(b"\n") + 1]
    rest = given_[given_.rfind(b"\n") + 1 :]
    assert lines.end() == (rest + b"\n" if rest else b"")


@given(st.lists(st.binary(max_size=20)), st.integers(1, 9))
def test_frames_are_whole_and_nothing_is_lost(messages: list[bytes], size: int) -> None:
    frames = Frames()
    given_ = b"".join(map(frame, messages))
    found = [frames.feed(given_[at : at + size]) for at in range(0, len(given_), size)]
    assert b"".join(found) == given_
    taken = 0
    starts = {0}
    for message in messages:
        starts.add(max(starts) + 4 + len(message))
    for whole in found:
        taken += len(whole)
        assert taken in starts
    assert frames.end() == b""


def test_a_batch_is_never_larger_than_one_read() -> None:
    lines = Lines()
    lines.feed(b"x" * 100)
    assert lines.wants == READ_BYTES - 100
    lines.feed(b"x" * READ_BYTES)
    assert lines.wants > READ_BYTES, "one line is longer"
    assert lines.feed(b"\n") == b"x" * (READ_BYTES + 100) + b"\n"
    assert lines.wants == READ_BYTES


def test_the_longest_line() -> None:
    half = MAX_MESSAGE // 2
    lines = Lines()
    lines.feed(b"x" * half)
    assert len(lines.feed(b"x" * half + b"\n")) == MAX_MESSAGE + 1
    lines.feed(b"x" * half)
    with pytest.raises(InputError, match="longer than"):
        lines.feed(b"x" * half + b"x\n")


def test_a_line_that_is_too_long_is_refused_before_it_ends() -> None:
    lines = Lines()
    lines.feed(b"x" * MAX_MESSAGE)
    with pytest.raises(InputError, match="longer than"):
        lines.feed(b"x")


def test_a_frame_that_is_too_long() -> None:
    assert Frames().feed(struct.pack(">I", MAX_MESSAGE)) == b""
    with pytest.raises(InputError, match="longer than"):
        Frames().feed(struct.pack(">I", MAX_MESSAGE + 1))


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\1", b"\0\0\0\2a", b"\0\0\0\0\0"])
def test_an_end_within_a_frame(data: bytes) -> None:
    frames = Frames()
    frames.feed(data)
    with pytest.raises(InputError, match="ended within a frame"):
        frames.end()
