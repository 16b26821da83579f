"""The descriptor held back for when there are no more."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.cgroups import spare
from shims.cgroups.hierarchy import read_file, write_file


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A spare one is kept, and nothing else can be opened."""
    monkeypatch.setattr(spare, "_spare", -1)
    spare.keep()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(spare._spare)


def test_files_can_be_read_and_written_one_after_the_other(tmp_path: Path, nothing_left: None) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="Too many open files"):
        path.write_bytes(b"")
    with spare.opened(str(path), os.O_WRONLY | os.O_CREAT):
        pass
    for _ in range(3):
        write_file(str(path), b"thaw")
        assert read_file(str(path)) == b"thaw"
    with pytest.raises(FileNotFoundError):
        read_file(str(tmp_path / "other"))
    assert read_file(str(path)) == b"thaw"


def test_two_at_a_time_are_too_many(nothing_left: None) -> None:
    with (
        spare.opened("/dev/null", os.O_RDONLY),
        pytest.raises(OSError, match="Too many open files"),
        spare.opened("/dev/null", os.O_RDONLY),
    ):
        pass
    with spare.opened("/dev/null", os.O_RDONLY):
        pass
