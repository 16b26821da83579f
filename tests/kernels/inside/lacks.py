"""Run in guests that lack something; which of these tests is meant follows from the guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from shims.container.client import WardenRefusedError
from tests.system.container_host import Host
from tests.system.product import product_on, run


async def test_no_overlay(host: Host) -> None:
    with pytest.raises(WardenRefusedError) as caught:
        await host.create(host.spec())
    assert str(caught.value) == (
        f"overlayMount: {host.rootfs}: No such device; "
        "this kernel has no overlayfs: run `modprobe overlay`, or set `vm config snapshot false`"
    )
    await host.launch(host.spec(snapshot=False))


def test_no_memory_controller(base_dir: Path, rootfs: Path) -> None:
    """The whole product, as its user meets it."""
    what = "memory is not limited: cgroup_disable=memory switches this controller off; boot without it"
    with product_on(base_dir, rootfs) as product, product.configured() as console:
        assert console.ok("vm launch container one").strip() == f"warning: {what}"
        console.ok("vm start one")
        assert what in product.log_end()
        assert not (Path("/sys/fs/cgroup/minibus") / product.tag / "0/memory.max").exists()
        console.ok("vm kill one", "vm flush")


def test_read_only_sys(base_dir: Path, rootfs: Path) -> None:
    with product_on(base_dir, rootfs) as product, product.configured() as console:
        answer = run("exec", "--base", base_dir, "vm launch container one")
        assert answer.status == 1, answer
        assert "/sys/fs/cgroup/minibus: Read-only file system; run `mount -o remount,rw /sys/fs/cgroup`" in answer.err
        console.ok("clear vm config")


def test_another_user(base_dir: Path) -> None:
    answer = run("up", "--base", base_dir, user=65534)
    assert answer.sentence() == ("minibus: minibus up needs root: nobody else may make namespaces, mounts and cgroups")
