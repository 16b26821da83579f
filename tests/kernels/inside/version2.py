"""Run in a guest whose control groups are of version 2 alone: what no host of the other kind can show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.cgroups.cgroup import host_layout
from shims.cgroups.hierarchy import CONTROLLERS
from tests.system.container_host import Host, sh, until
from tests.system.lacking import OUTER

ROOT = Path("/sys/fs/cgroup")


def group(host: Host, root: Path = ROOT) -> Path:
    """The cgroup of container 1."""
    return root / "minibus" / host.tag / "1"


def limits(group: Path) -> dict[str, str]:
    """What is written in it."""
    names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    return {name: (group / name).read_text().strip() for name in names if (group / name).exists()}


@pytest.fixture
def service() -> Iterator[Path]:
    """A cgroup for the warden, which makes it."""
    path = ROOT / "service"
    yield path
    for left in (path / "minibus-others", path):
        if left.exists():
            left.rmdir()


@pytest.fixture
def outer() -> Iterator[None]:
    """Removes the cgroup in which the warden was."""
    yield
    for path in (OUTER / "middle" / "minibus-others", OUTER / "middle", OUTER):
        path.rmdir()


async def test_everything_is_of_version_2() -> None:
    (tree,) = host_layout().trees
    assert (tree.version, tree.root, tree.controllers) == (2, str(ROOT), frozenset(CONTROLLERS))


async def test_limits(host: Host) -> None:
    created = await host.launch(host.spec(memory_mib=64, vcpus=2, processes=50))
    assert limits(group(host)) == {
        "memory.max": str(64 << 20),
        "memory.swap.max": str(64 << 20),
        "cpu.max": "200000 100000",
        "pids.max": "50",
    }
    assert not [warning for warning in created.warnings if "limited" in warning]


async def test_the_number_of_processes(host: Host) -> None:
    script = "i=0; while [ $i -lt 30 ]; do sleep 100 & i=$((i+1)); done; wait"
    await host.launch(host.spec(init=sh(script), processes=10))
    await until(lambda: "max 0" not in (group(host) / "pids.events").read_text(), "a fork that was refused")
    assert int((group(host) / "pids.current").read_text()) <= 10


async def test_processors(host: Host) -> None:
    await host.launch(host.spec(init=sh("while :; do :; done & while :; do :; done"), vcpus=1))

    def throttled() -> bool:
        return "nr_periods 0\n" not in (group(host) / "cpu.stat").read_text()

    await until(throttled, "periods to be counted")


async def test_in_a_container_of_its_own(base_dir: Path, rootfs: Path, outer: None) -> None:
    """Processes in the root of a cgroup namespace are in the way of every controller."""
    host = Host(base_dir, rootfs)
    try:
        await host.start(prelude="from tests.system import lacking; lacking.inside_a_container()")
        created = await host.launch(host.spec(processes=50))
        assert not [warning for warning in created.warnings if "limited" in warning]
        assert limits(group(host, OUTER / "middle"))["pids.max"] == "50"
        assert (OUTER / "middle" / "cgroup.procs").read_text() == ""
        assert str(host.pid) in (OUTER / "middle/minibus-others/cgroup.procs").read_text().split()
    finally:
        await host.stop()


async def test_a_controller_that_is_not_passed_on(base_dir: Path, rootfs: Path, outer: None) -> None:
    host = Host(base_dir, rootfs)
    try:
        await host.start(prelude="from tests.system import lacking; lacking.inside_a_container(without=('memory',))")
        created = await host.launch(host.spec(processes=50))
        assert (
            "memory is not limited: the cgroup above /sys/fs/cgroup does not pass the controller memory on; "
            "write +memory to its cgroup.subtree_control, from outside"
        ) in created.warnings
        assert limits(group(host, OUTER / "middle")) == {"cpu.max": "100000 100000", "pids.max": "50"}
    finally:
        await host.stop()


async def test_guests_outlive_the_service(base_dir: Path, rootfs: Path, service: Path) -> None:
    """They are at the top of the tree, not in the service's cgroup, all of which a service manager ends."""
    host = Host(base_dir, rootfs)
    try:
        await host.start(prelude="from tests.system import lacking; lacking.in_a_service()")
        created = await host.launch(host.spec())
        (service / "cgroup.kill").write_text("1")
        await host.ended()
        host.client.close()
        await host.start()
        (status,) = await host.client.list()
        assert (status.pid, status.state) == (created.pid, "running")
        assert limits(group(host))["memory.max"] == str(64 << 20)
    finally:
        await host.stop()


async def test_a_service_that_sees_no_more(base_dir: Path, rootfs: Path, service: Path) -> None:
    """Its own cgroup has to do, and the processes in it make room."""
    host = Host(base_dir, rootfs)
    try:
        await host.start(prelude="from tests.system import lacking; lacking.in_a_service_that_sees_no_more()")
        created = await host.launch(host.spec(processes=50))
        assert not [warning for warning in created.warnings if "limited" in warning]
        assert limits(group(host, service))["pids.max"] == "50"
        assert str(host.pid) in (service / "minibus-others/cgroup.procs").read_text().split()
    finally:
        await host.stop()
