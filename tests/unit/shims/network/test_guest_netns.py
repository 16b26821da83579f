"""Names for the network namespaces of guests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shims.network import guest_netns


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the links that does not exist yet."""
    path = tmp_path / "netns"
    monkeypatch.setattr(guest_netns, "DIRECTORY", path)
    return path


def test_a_name_follows_its_guest(directory: Path) -> None:
    guest_netns.link("abcd", 7, 0)
    assert not directory.exists(), "there was nothing to remove"
    guest_netns.link("abcd", 7, os.getpid())
    path = directory / "meganet_abcd_7"
    assert path.stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    guest_netns.link("abcd", 7, 99)
    assert str(path.readlink()) == "/proc/99/ns/net"
    guest_netns.link("abcd", 7, 0)
    assert not os.path.lexists(path)


def test_only_the_names_of_one_base_directory_go(directory: Path) -> None:
    for tag, vm_id in (("abcd", 1), ("abcd", 12), ("efgh", 1)):
        guest_netns.link(tag, vm_id, 1)
    (directory / "meganet_abc").touch()
    assert guest_netns.names("abcd") == ["meganet_abcd_1", "meganet_abcd_12"]
    assert guest_netns.remove_all("abcd") == 2
    assert sorted(path.name for path in directory.iterdir()) == ["meganet_abc", "meganet_efgh_1"]
    assert guest_netns.remove_all("abcd") == 0
