"""Version 2 of cgroups as far as this host has it: freezing, and device rules by BPF."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.cgroups.cgroup import Cgroups, Layout, Limits, Tree
from tests.system.container_host import until

TAG = "t2cg"
LIMITS = Limits(memory_bytes=64 << 20, vcpus=1, processes=100)


@pytest.fixture
def groups() -> Iterator[Cgroups]:
    """Cgroups in the host's version 2 tree, without controllers."""
    found = re.search(r"^\S+ \S+ \S+ / (\S+) .* - cgroup2 ", Path("/proc/self/mountinfo").read_text(), re.MULTILINE)
    assert found, "no version 2 tree is mounted here"
    groups = Cgroups(Layout((Tree(2, found[1], frozenset({"freezer", "devices"})),)), TAG)
    groups.prepare()
    yield groups
    for name in groups.names():
        assert groups.remove(name)
    groups.remove_base()
    assert not any(Path(path).exists() for path in groups.directories)


async def test_freeze(groups: Cgroups) -> None:
    (procs,) = groups.create("1", LIMITS)
    process = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
    Path(procs).write_text(str(process.pid))
    assert groups.pids("1") == [process.pid]
    assert not groups.is_frozen("1")
    groups.freeze("1")
    await until(lambda: groups.is_frozen("1"), "the freeze")
    assert not groups.remove("1")
    process.kill()  # here a frozen process does die
    await process.wait()
    groups.thaw("1")


def test_devices(groups: Cgroups) -> None:
    groups.prepare()
    (procs,) = groups.create("1", LIMITS)
    opening = "for d in null zero random kmsg mem; do : </dev/$d && echo $d; done"
    script = f"echo 0 >{procs}; {opening}; mknod /dev/shm/{TAG} b 7 1 && echo made"
    try:
        result = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, timeout=20)
    finally:
        Path(f"/dev/shm/{TAG}").unlink(missing_ok=True)
    assert result.stdout.split() == ["null", "zero", "random", "made"]
    for name in ("kmsg", "mem"):
        assert not Path(f"/dev/{name}").exists() or f"/dev/{name}: Operation not permitted" in result.stderr
