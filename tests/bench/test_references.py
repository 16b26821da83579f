"""The references measure what they say and leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
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


def groups() -> set[Path]:
    """Cgroups of all references on this machine, those of other runs included."""
    return {path for path in Path("/sys/fs/cgroup").glob("*/minibus-bench/*") if path.is_dir()}


@pytest.fixture
def work(base_dir: Path) -> Iterator[Path]:
    """Where a reference keeps its containers; nothing of it and no cgroup may be left."""
    before = groups()
    directory = base_dir / "work"
    directory.mkdir()
    yield directory
    assert list(directory.iterdir()) == []
    assert groups() <= before


@pytest.mark.system
@pytest.mark.parametrize("flags", [[], ["-n"]])
def test_launch_measures_and_removes_its_containers(work: Path, rootfs: Path, flags: list[str]) -> None:
    result = json.loads(run([str(compile_launch()), *flags, "3", str(rootfs), str(work), "/bin/sleep"], timeout_s=30))
    assert result["count"] == 3
    assert 0 < result["first_s"] <= result["launch_s"]
    assert 0 < result["last_s"] <= result["launch_s"]
    assert result["kill_s"] > 0


@pytest.mark.system
@pytest.mark.parametrize(
    ("init", "reason"),
    [
        ("/none", "execve.*: No such file or directory"),
        ("/wrong", "execve.*: No such file or directory"),
        ("/", "execve.*: Permission denied"),
    ],
)
def test_launch_names_the_step_that_failed(work: Path, rootfs: Path, init: str, reason: str) -> None:
    with pytest.raises(UnavailableError, match=f"container 0: {reason}"):
        run([str(compile_launch()), "3", str(rootfs), str(work), init], timeout_s=30)


@pytest.mark.system
def test_launch_cleans_up_when_interrupted(work: Path, rootfs: Path) -> None:
    arguments = [str(compile_launch()), "10000", str(rootfs), str(work), "/init"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert wait_until(lambda: len(list(work.iterdir())) >= 10, timeout_s=30)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert len(children) >= 9
    assert not [pid for pid in children if Path("/proc", pid).exists()]


@pytest.mark.system
def test_each_container_has_an_interface_if_it_should(work: Path, rootfs: Path) -> None:
    arguments = [str(compile_launch()), "-w", "-n", "2", str(rootfs), str(work), "/bin/sleep", "1000"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"launched\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found = [Path(f"/proc/{pid}/net/dev").read_text() for pid in (str(process.pid), *children)]
        process.communicate(timeout=30)
    assert [f"bench{number}:" in found[0] for number in range(3)] == [True, True, False]
    assert ["veth0:" in one for one in found] == [False, True, True]


def test_the_raw_echo_measures_and_ends_its_processes(base_dir: Path) -> None:
    result = json.loads(run([PYTHON, str(REFERENCE / "echo.py"), "client", str(base_dir)], timeout_s=60))
    assert result["count"] == 2000
    assert 0 < result["median_us"] <= result["p99_us"]
