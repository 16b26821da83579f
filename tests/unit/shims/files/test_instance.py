"""Instance directories: made, brought up to date, removed whatever a guest has put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shims.files import instance
from shims.usage import hoststat


def files(directory: Path) -> dict[str, str]:
    """Name and content of the files of a directory."""
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_prepare_and_write_state(tmp_path: Path) -> None:
    directory = tmp_path / "7"
    instance.prepare(directory, name="web", config="VM configuration:\n", state="BUILDING")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert files(directory) == {"name": "web", "config": "VM configuration:\n", "state": "BUILDING"}
    instance.write(directory, "state", "RUNNING")
    assert files(directory)["state"] == "RUNNING"
    instance.prepare(directory, name="web", config="new", state="QUIT")
    assert files(directory) == {"name": "web", "config": "new", "state": "QUIT"}


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    directory = tmp_path / "7"
    directory.mkdir()
    (directory / "state").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        instance.write(directory, "state", "QUIT")
    assert victim.read_text() == "mine"


def test_without_a_base(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        instance.prepare(tmp_path / "none" / "7", name="a", config="", state="BUILDING")
    with pytest.raises(FileNotFoundError):
        instance.write(tmp_path / "7", "state", "QUIT")


def test_highest_id(tmp_path: Path) -> None:
    assert instance.highest_id(tmp_path) == -1
    assert instance.highest_id(tmp_path / "none") == -1
    for name in ("3", "12", "files", "x9", "-5"):
        (tmp_path / name).mkdir()
    assert instance.highest_id(tmp_path) == 12


def test_remove_takes_all_kinds_of_entries_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    directory = tmp_path / "7"
    (directory / "fs" / "a" / "b").mkdir(parents=True)
    (directory / "fs" / "a" / "b" / "file").write_text("x")
    (directory / "fs" / "link").symlink_to(outside)
    (directory / "dangling").symlink_to("nowhere")
    os.mkfifo(directory / "fifo0")
    (directory / ".removing-0").mkdir()
    instance.remove(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert files(outside) == {"kept": "kept"}
    instance.remove(directory)


def test_remove_bears_any_depth(tmp_path: Path) -> None:
    directory = tmp_path / "7"
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(3000):  # deeper than PATH_MAX and than the interpreter's recursion limit
        os.mkdir("directory", dir_fd=fd)
        inner = os.open("directory", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    instance.remove(directory)
    assert list(tmp_path.iterdir()) == []


def test_host_figures_make_sense() -> None:
    stat_ = hoststat.read()
    assert stat_.cpus >= 1
    assert 0 < stat_.mem_used_mib < stat_.mem_total_mib
    assert stat_.uptime_s > 0
    assert len(stat_.load) == 3
