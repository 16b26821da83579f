"""Hints to the file system."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shims.linux.inode_flags import spread_subdirectories


def attributes(path: Path) -> str:
    """What lsattr(1) says; empty where the file system has no such thing."""
    result = subprocess.run(["/usr/bin/lsattr", "-d", path], capture_output=True, text=True)
    return result.stdout.split(" ")[0]


def test_spread(tmp_path: Path) -> None:
    before = attributes(tmp_path)
    spread_subdirectories(tmp_path)
    assert set(attributes(tmp_path)) == set(before) | ({"T"} if "e" in before else set())  # "e": ext4, with extents
    spread_subdirectories(tmp_path)


def test_where_it_cannot_be(tmp_path: Path) -> None:
    spread_subdirectories(Path("/proc"))
    spread_subdirectories(tmp_path / "none")
    (tmp_path / "file").write_text("")
    spread_subdirectories(tmp_path / "file")
