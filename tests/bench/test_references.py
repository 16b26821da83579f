"""The references measure what they say and leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.bench.machine import PYTHON, REFERENCE, compile_launch, run, wait_until
from tests.bench.report import UnavailableError

BUSYBOX = Path("/bin/busybox")


@pytest.fixture
def rootfs(base_dir: Path) -> Path:
    """A root in which a static program can run."""
    root = base_dir / "root"
    for name in ("bin", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy2(BUSYBOX, root / "bin" / "sleep")
    (root / "init").write_text("#!/bin/sleep 1000\n")
    (root / "init").chmod(0o755)
    (root / "wrong").write_text("#!/bin/none\n")
    (root / "wrong").chmod(0o755)
    return root


def left(work: Path) -> list[Path]:
    """Directories of containers and cgroups of references that are not in use by another run."""
    return [*work.iterdir(), *Path("/sys/fs/cgroup").glob("*/minibus-bench/*")]


@pytest.mark.system
def test_launch_measures_and_removes_its_containers(base_dir: Path, rootfs: Path) -> None:
    work = base_dir / "work"
    work.mkdir()
    result = json.loads(run([str(compile_launch()), "3", str(rootfs), str(work), "/bin/sleep"], timeout_s=30))
    assert result["count"] == 3
    assert 0 < result["first_s"] <= result["launch_s"]
    assert 0 < result["last_s"] <= result["launch_s"]
    assert result["kill_s"] > 0
    assert left(work) == []


@pytest.mark.system
@pytest.mark.parametrize(
    ("init", "reason"),
    [
        ("/none", "execve.*: No such file or directory"),
        ("/wrong", "execve.*: No such file or directory"),
        ("/", "execve.*: Permission denied"),
    ],
)
def test_launch_names_the_step_that_failed(base_dir: Path, rootfs: Path, init: str, reason: str) -> None:
    work = base_dir / "work"
    work.mkdir()
    with pytest.raises(UnavailableError, match=f"container 0: {reason}"):
        run([str(compile_launch()), "3", str(rootfs), str(work), init], timeout_s=30)
    assert left(work) == []


@pytest.mark.system
def test_launch_cleans_up_when_interrupted(base_dir: Path, rootfs: Path) -> None:
    work = base_dir / "work"
    work.mkdir()
    arguments = [str(compile_launch()), "10000", str(rootfs), str(work), "/init"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert wait_until(lambda: len(list(work.iterdir())) >= 10, timeout_s=30)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert len(children) >= 9
    assert not [pid for pid in children if Path("/proc", pid).exists()]
    assert left(work) == []


def test_the_raw_echo_measures_and_ends_its_processes(base_dir: Path) -> None:
    result = json.loads(run([PYTHON, str(REFERENCE / "echo.py"), "client", str(base_dir)], timeout_s=60))
    assert result["count"] == 2000
    assert 0 < result["median_us"] <= result["p99_us"]
