"""What is taken for a base directory, and which mounts for its guests'."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shims.linux import mountinfo
from shims.nuke.nuke import is_base, own_mounts
from shims.nuke.own_processes import end_lock_holder, lock_holders, lock_name

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
    last = list(mountinfo.read(TABLE))[-1]
    assert (last.point, last.source, last.kind) == ("/mnt/back\\slash", "a\tb", "tmpfs")


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


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/b/run/node.lock", "node.lock"),
        ("/b/run/node.lock (deleted)", "node.lock"),
        ("/b/run/jobs/node.lock", ""),
        ("/b2/run/node.lock", ""),
        ("/b/run/node", ""),
        ("socket:[123]", ""),
        ("node.lock", ""),
    ],
)
def test_a_lock_is_known_by_its_path(target: str, name: str) -> None:
    assert lock_name(target, Path("/b/run")) == name


def test_who_holds_a_lock(tmp_path: Path) -> None:
    def hold(name: str) -> subprocess.Popen[bytes]:
        code = f"import fcntl,sys; f=open({str(tmp_path / name)!r},'w'); fcntl.flock(f, 2); print(flush=True); input()"
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with hold("a.lock") as a, hold("b.lock") as b, (tmp_path / "c.lock").open("w") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        for process in (a, b):
            assert process.stdout is not None
            process.stdout.readline()
        (tmp_path / "b.lock").unlink()
        try:
            assert lock_holders(tmp_path) == {"a.lock": {a.pid}, "b.lock": {b.pid}, "c.lock": set()}
            assert not end_lock_holder(a.pid, tmp_path / "other")
            assert a.poll() is None
            assert end_lock_holder(a.pid, tmp_path)
            assert a.wait(10) == -signal.SIGKILL
        finally:
            a.kill()
            b.kill()


def test_a_link_is_no_sign_of_a_base_directory(tmp_path: Path) -> None:
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "real" / "run" / "node.lock").touch()
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "run").symlink_to(tmp_path / "real" / "run")
    assert is_base(tmp_path / "real")
    assert not is_base(tmp_path / "fake")
