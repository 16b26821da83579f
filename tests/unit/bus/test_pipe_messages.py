"""Messages as lines and as frames, whichever way they were written."""

from __future__ import annotations

import pytest

from bus.pipe_messages import as_frames, as_lines

FRAMES = b"\0\0\0\1a" + b"\0\0\0\0" + b"\0\0\0\4b\nc\n"


@pytest.mark.parametrize(
    ("data", "framed", "lines"), [(b"a\n\nb\n", False, b"a\n\nb\n"), (FRAMES, True, b"a\n\nb\nc\n"), (b"", True, b"")]
)
def test_as_lines(data: bytes, framed: bool, lines: bytes) -> None:
    assert as_lines(data, framed=framed) == lines


@pytest.mark.parametrize(
    ("data", "framed", "frames"),
    [(FRAMES, True, FRAMES), (b"a\n\n\xff\n", False, b"\0\0\0\1a\0\0\0\0\0\0\0\1\xff"), (b"", False, b"")],
)
def test_as_frames(data: bytes, framed: bool, frames: bytes) -> None:
    assert as_frames(data, framed=framed) == frames
