"""A small file that other programs read."""

from __future__ import annotations

from pathlib import Path

import pytest

from shims.files.replaced_file import replace


def test_it_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "vlans"
    replace(path, "a\n")
    first = path.stat().st_ino
    replace(path, "b\n")
    assert path.read_text() == "b\n"
    assert path.stat().st_ino != first, "who reads the old one goes on reading the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["vlans"]


def test_what_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "vlans"
    path.mkdir()
    (path / "x").touch()
    with pytest.raises(OSError):
        replace(path, "a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["vlans"]
