from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.commands.written_file import WriteError, write_file


def test_a_new_file_and_one_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_file(str(path), b"one")
    path.chmod(0o600)
    write_file(str(path), b"")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"", 0o600)
    assert [found.name for found in tmp_path.iterdir()] == ["f"]


def test_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/f")
    write_file(str(tmp_path / "link"), b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "f").read_bytes() == b"x"


def test_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_file("f", b"x")
    assert (tmp_path / "f").read_bytes() == b"x"


def test_what_is_no_regular_file() -> None:
    write_file("/dev/null", b"x" * 1_000_000)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is a directory"),
        ("no/f", "no such file or directory"),
        ("fifo", "no such device or address"),
        ("x" * 300, "file name too long"),
        ("a\0b", "embedded null byte"),
        ("loop", "too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    path = f"{tmp_path}/{name}"
    with pytest.raises(WriteError) as caught:
        write_file(path, b"x")
    assert str(caught.value).startswith(f"open {path[:200]}: ")
    assert reason in str(caught.value).lower()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["fifo", "loop"]


def test_no_name_at_all() -> None:
    with pytest.raises(WriteError, match=r"^the name of the file is empty$"):
        write_file("", b"x")


def test_a_full_device_leaves_what_was_there() -> None:
    with pytest.raises(WriteError, match="open /dev/full: no space left on device"):
        write_file("/dev/full", b"x")


def test_a_pipe_whose_reader_does_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(WriteError, match="nobody reads it"):
            write_file(f"{tmp_path}/fifo", b"x" * 1_000_000)
    finally:
        os.close(reader)
