"""The scroll-back of a console: what is kept, where a viewer begins, and what a successor finds in the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shims.files.scroll_back import KEPT_BYTES, NOISE_BYTES, PIECE_BYTES, TYPISTS, ScrollBack


def full(path: Path, data: bytes, piece: int = 4096) -> ScrollBack:
    """A stream in which this has been said."""
    stream = ScrollBack(path)
    for start in range(0, len(data), piece):
        stream.append(data[start : start + piece])
    stream.close()
    return stream


def lines(count: int) -> bytes:
    """Numbered lines of ten bytes."""
    return b"".join(b"%09d\n" % number for number in range(count))


def test_a_new_stream_is_empty(tmp_path: Path) -> None:
    stream = ScrollBack(tmp_path / "s")
    assert (stream.begin, stream.end, stream.read(-1)) == (0, 0, (0, b""))
    assert not (tmp_path / "s").exists(), "nothing is written before something is said"


@pytest.mark.parametrize(
    ("said", "after", "offset", "data"),
    [
        (b"", 0, 0, b""),
        (b"hello", -1, 0, b"hello"),
        (b"hello", 0, 0, b"hello"),
        (b"hello", 2, 2, b"llo"),
        (b"hello", 5, 5, b""),
        (b"hello", 6, 0, b"hello"),
    ],
)
def test_reading(tmp_path: Path, said: bytes, after: int, offset: int, data: bytes) -> None:
    assert full(tmp_path / "s", said).read(after) == (offset, data)


def test_the_oldest_goes_first_and_reading_begins_with_a_line(tmp_path: Path) -> None:
    said = lines(10_000)
    stream = full(tmp_path / "s", said, piece=1000)
    assert (stream.end, stream.begin) == (len(said), len(said) - KEPT_BYTES)
    offset, data = stream.read(0)
    assert offset % 10 == 0
    assert 0 < offset - stream.begin < 10
    assert data == said[offset:]
    assert stream.read(stream.begin) == (stream.begin, said[-KEPT_BYTES:]), "who has a place there gets what he misses"
    assert stream.read(stream.begin, 100)[1] == said[stream.begin :][:100]


@pytest.mark.parametrize("shift", range(4))
def test_without_lines_no_character_is_split(tmp_path: Path, shift: int) -> None:
    stream = full(tmp_path / "s", b"x" * shift + "€".encode() * KEPT_BYTES)
    _, data = stream.read(-1)
    assert data.decode() == "€" * (len(data) // 3)
    assert len(data) > KEPT_BYTES - NOISE_BYTES


@given(st.lists(st.binary(max_size=3 * PIECE_BYTES), max_size=20))
def test_a_successor_finds_what_was_kept(pieces: list[bytes]) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"mb-scroll-{os.getpid()}"
    stream = ScrollBack(path)
    try:
        for piece in pieces:
            stream.append(piece)
        found = ScrollBack.load(path)
        if stream.end:
            assert (found.stream, found.end, found.read(-1)) == (stream.stream, stream.end, stream.read(-1))
        found.append(b"more\n")
        again = ScrollBack.load(path)
        found.close()
        assert again.read(stream.end) == (stream.end, b"more\n")
        assert again.begin == found.begin
    finally:
        stream.close()
        path.unlink(missing_ok=True)


def test_what_was_written_without_its_header_damages_nothing(tmp_path: Path) -> None:
    """Killed between the two writes."""
    path = tmp_path / "s"
    stream = full(path, lines(20_000))
    before = path.read_bytes()
    end, kept = stream.end, stream.read(stream.begin)
    stream.append(b"!" * PIECE_BYTES)
    stream.close()
    path.write_bytes(before[:32] + path.read_bytes()[32:])
    found = ScrollBack.load(path)
    assert (found.end, found.read(found.begin)) == (end, kept)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 100_000, b"scroll-2" + b"\xff" * 40])
def test_a_file_of_something_else_is_no_stream(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    found = ScrollBack.load(tmp_path / "s")
    found.append(b"hello")
    found.close()
    assert found.read(-1) == (0, b"hello")
    assert ScrollBack.load(tmp_path / "s").read(-1) == (0, b"hello")


def test_a_new_container_does_not_show_what_the_old_one_said(tmp_path: Path) -> None:
    old = full(tmp_path / "s", b"old")
    new = ScrollBack(tmp_path / "s")
    assert new.stream != old.stream
    assert ScrollBack.load(tmp_path / "s").read(-1) == (0, b"")


def test_what_was_typed_is_known_to_a_successor(tmp_path: Path) -> None:
    stream = ScrollBack(tmp_path / "s")
    assert stream.typed("one") == 0
    stream.note_typed("one", 5)
    assert ScrollBack.load(tmp_path / "s").typed("one") == 5, "also before anything was said"
    stream.append(b"hello")
    for number in range(TYPISTS - 1):
        stream.note_typed(f"other{number}", 10 + number)
    stream.close()
    found = ScrollBack.load(tmp_path / "s")
    assert [found.typed(name) for name in ("one", "other0", "new")] == [5, 10, None]
    found.note_typed("other0", 20)
    found.note_typed("new", 3)
    found.close()
    again = ScrollBack.load(tmp_path / "s")
    assert [again.typed(name) for name in ("one", "other0", "new")] == [None, 20, 3], "the one who is silent goes first"
    assert again.read(-1) == (0, b"hello")


def test_a_full_disk_costs_the_copy_only_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "s", os.pwrite
    stream = ScrollBack(path)
    stream.append(b"before\n")

    def refuse(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    now_s = 1000.0
    monkeypatch.setattr("shims.files.scroll_back.time.monotonic", lambda: now_s)
    monkeypatch.setattr(os, "pwrite", refuse)
    said = lines(12_000)
    stream.append(said)
    monkeypatch.setattr(os, "pwrite", write)
    stream.append(b"not tried yet\n")
    assert stream.read(-1)[1].endswith(b"not tried yet\n")
    assert ScrollBack.load(path).read(-1) == (0, b"before\n")
    now_s += 2.0
    stream.append(b"after\n")
    stream.close()
    found = ScrollBack.load(path)
    assert (found.stream, found.end, found.read(-1)) == (stream.stream, stream.end, stream.read(-1))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    stream = ScrollBack(tmp_path / "s")
    (tmp_path / "s").symlink_to(tmp_path / "other")
    stream.append(b"hello")
    stream.close()
    assert stream.read(-1) == (0, b"hello")
    assert (tmp_path / "other").read_text() == "mine"
