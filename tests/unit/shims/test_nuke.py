"""What is taken for a base directory, and which mounts for its guests'."""

from __future__ import annotations

from pathlib import Path

import pytest

from shims.linux import mountinfo
from shims.nuke import is_base, own_mounts

BASE = Path("/srv/mini bus")
TABLE = r"""
31 1 0:28 / / rw,relatime - ext4 /dev/vda rw
32 31 0:29 / /srv/mini\040bus rw - ext4 /dev/vdb rw
33 32 0:30 / /srv/mini\040bus/files rw - nfs server:/images rw
34 32 0:31 / /srv/mini\040bus/files/7 rw - tmpfs tmpfs rw
35 32 0:32 / /srv/mini\040bus/12/fs rw - overlay minibus_abcd_12 rw
36 32 0:33 / /srv/mini\040bus/13 rw - tmpfs tmpfs rw
37 31 0:34 / /mnt/old rw - overlay minibus_abcd_3 rw
38 31 0:35 / /mnt/other rw - overlay minibus_wxyz_3 rw
39 31 0:36 / /srv/mini\040bus2/14 rw shared:1 master:2 - tmpfs tmpfs rw
40 31 0:37 / /mnt/back\134slash rw - tmpfs a\011b rw
garbage
"""


def test_only_mounts_of_guests_are_taken_down() -> None:
    assert own_mounts(TABLE, BASE, "abcd") == ["/srv/mini bus/12/fs", "/srv/mini bus/13", "/mnt/old"]


def test_names_in_the_mount_table_are_unescaped() -> None:
    assert list(mountinfo.read(TABLE))[-1] == mountinfo.Mounted("/mnt/back\\slash", "a\tb")


@pytest.mark.parametrize(
    ("entries", "is_one"),
    [
        ([], False),
        (["run/"], False),
        (["run/other.lock"], False),
        (["run/node.lock"], True),
        (["state/"], False),
        (["state/vm/"], True),
        (["state/warden/journal"], True),
        (["bus/requests"], True),
        (["files/", "log/"], True),
        (["files/", "log/", "0/"], False),
        (["files/", "log/", "minimega"], False),
        (["files/"], False),
        (["home/", "etc/", "7/"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_base_directory_is_known_by_what_is_in_it(tmp_path: Path, entries: list[str], is_one: bool) -> None:
    for entry in entries:
        path = tmp_path / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if entry.endswith("/") else path.touch()
    assert is_base(tmp_path) is is_one


def test_a_link_is_no_sign_of_a_base_directory(tmp_path: Path) -> None:
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "real" / "run" / "node.lock").touch()
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "run").symlink_to(tmp_path / "real" / "run")
    assert is_base(tmp_path / "real")
    assert not is_base(tmp_path / "fake")
