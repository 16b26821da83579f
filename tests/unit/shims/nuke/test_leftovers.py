"""What counts as left over."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from shims.nuke import leftovers
from shims.programs.process_tree import MARK

MOUNTINFO = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
60 22 0:50 / / rw - overlay minibus_ab2d_4 rw,lowerdir=/x,upperdir=fs,workdir=fs_work
61 60 8:1 /b/4/uuid /etc/minibus/uuid rw - ext4 /dev/sda1 rw
62 22 0:51 / /b/mnt rw - tmpfs none rw
63 22 0:52 / /bb rw - tmpfs none rw
64 22 0:53 / / rw - overlay minibus_wxyz_4 rw
broken
"""


def test_mounts() -> None:
    assert leftovers.mounts_in(MOUNTINFO, Path("/b"), "ab2d") == ["/", "/etc/minibus/uuid", "/b/mnt"]
    assert leftovers.mounts_in(MOUNTINFO, Path("/c"), "zzzz") == []


def test_files(tmp_path: Path) -> None:
    for name in ("4", "17", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "9").write_text("a file")
    assert leftovers.files(tmp_path) == [f"directory {tmp_path}/17", f"directory {tmp_path}/4"]
    assert leftovers.files(tmp_path / "none") == []


def test_a_base_that_never_was(tmp_path: Path) -> None:
    assert leftovers.find(tmp_path / "none", "zz9z") == []


def test_background_jobs(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, MARK: "zy9z-1-5"}) as job:
        assert leftovers.processes(tmp_path, "zy9z") == [f"process {job.pid} (sleep)"]
        assert leftovers.processes(tmp_path, "zx9z") == []
        job.kill()
