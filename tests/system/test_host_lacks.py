"""What a container's launch says on a host that lacks something, and what works there all the same."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bus.paths import base_tag
from shims.cgroups.cgroup import host_layout
from shims.container.client import WardenRefusedError
from shims.linux.capability import CAPABILITIES
from shims.linux.process import CLONE_NEWNET, CLONE_NEWUSER
from tests.system.container_host import Host

Lesser = Callable[[str], AbstractAsyncContextManager[Host]]


@pytest.fixture
def lesser(base_dir: Path, rootfs: Path) -> Lesser:
    """A host with a warden from which something was taken away."""

    @asynccontextmanager
    async def start(what: str) -> AsyncIterator[Host]:
        host = Host(base_dir, rootfs)
        try:
            await host.start(prelude=f"from tests.system import lacking; lacking.{what}")
            yield host
        finally:
            await host.stop()

    return start


async def refusal(host: Host, *, snapshot: bool = True) -> str:
    """The sentence with which a container is refused."""
    with pytest.raises(WardenRefusedError) as caught:
        await host.create(host.spec(snapshot=snapshot))
    assert await host.client.list() == ()
    return str(caught.value)


@pytest.mark.parametrize("controller", ["freezer", "memory", "cpu", "devices", "pids"])
async def test_a_tree_that_is_read_only(lesser: Lesser, base_dir: Path, controller: str) -> None:
    (tree,) = [tree for tree in host_layout().trees if controller in tree.controllers]
    advice = f"run `mount -o remount,rw {tree.root}`, or run minibus on the host itself"
    why = f"{tree.root}/minibus(/{base_tag(base_dir)})?: Read-only file system; {advice}"
    async with lesser(f"read_only({tree.root!r})") as host:
        if "freezer" in tree.controllers:
            assert re.match(f"start container: {why}", await refusal(host))
            return
        created = await host.create(host.spec())
        lost = [warning for warning in created.warnings if re.search(f": {why}", warning)]
        assert len(lost) == len(tree.controllers), created.warnings
        await host.client.start(1)
        await host.client.freeze(1)
        await host.client.kill(1)


async def test_no_cgroups_at_all(lesser: Lesser) -> None:
    async with lesser("no_mount('/sys/fs/cgroup')") as host:
        sentence = await refusal(host)
        assert sentence.startswith("start container: /sys/fs/cgroup")
        assert "No such file or directory; unmount what hides the cgroups mounted on /sys/fs/cgroup" in sentence


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EINVAL])
async def test_no_user_namespaces(lesser: Lesser, number: int) -> None:
    """As with user.max_user_namespaces = 0, or without CONFIG_USER_NS: containers as ever, and a word about it."""
    async with lesser(f"refuse('unshare', {number}, arg0={CLONE_NEWUSER})") as host:
        for guest_id in (1, 2):
            created = await host.launch(host.spec(guest_id))
            assert Path(f"/proc/{created.pid}/ns/user").samefile("/proc/self/ns/user")
            assert not Path(f"/proc/{created.pid}/ns/net").samefile("/proc/self/ns/net")
            assert [text for text in created.warnings if "user namespace" in text] == [
                "its root can reach the networks of all guests: the kernel gives it no user namespace: "
                f"{os.strerror(number)}"
            ]
        assert (await host.run_inside("ip link set lo mtu 1400 && echo done", 3)) == "done\n"


async def test_a_failure_is_not_taken_for_a_lack(lesser: Lesser) -> None:
    """No guest gets the host's user namespace because there was no memory for a moment."""
    async with lesser(f"refuse('unshare', {errno.ENOMEM}, arg0={CLONE_NEWUSER})") as host:
        assert await refusal(host) == "start container: clone: Cannot allocate memory"


async def test_no_network_namespaces_are_left(lesser: Lesser) -> None:
    async with lesser(f"refuse('unshare', {errno.ENOSPC}, arg0={CLONE_NEWNET})") as host:
        assert "clone: No space left on device; a limit of namespaces is reached" in await refusal(host)


async def test_devices_without_rules(lesser: Lesser) -> None:
    """The container must neither make a node of the host's disk then nor open one that it finds."""
    (tree,) = [tree for tree in host_layout().trees if "devices" in tree.controllers]
    away = "refuse('bpf')" if tree.version == 2 else f"read_only({tree.root!r})"
    script = "mknod /disk b 7 0 || echo no node; head -c 1 /zero || echo not opened; echo x >/dev/null && echo null"
    async with lesser(away) as host:
        planted = host.instance(1) / "fs" / "zero"
        planted.parent.mkdir(parents=True)
        os.mknod(planted, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        text = await host.run_inside(f"{script}; grep CapB /proc/1/status")
        assert "no node\n" in text
        assert "not opened\n" in text
        assert "\nnull\n" in text
        assert int(text.split()[-1], 16) & 1 << CAPABILITIES["MKNOD"] == 0
        created = await host.create(host.spec())
        (warning,) = [warning for warning in created.warnings if warning.startswith("devices are not limited")]
        assert "Operation not permitted" in warning or "Read-only file system" in warning


async def test_no_overlay(lesser: Lesser) -> None:
    async with lesser(f"refuse('mount', {errno.ENODEV}, arg3=0)") as host:
        assert await refusal(host) == (
            f"overlayMount: {host.rootfs}: No such device; "
            "this kernel has no overlayfs: run `modprobe overlay`, or set `vm config snapshot false`"
        )
        await host.create(host.spec(snapshot=False))


async def test_no_right_to_make_namespaces(lesser: Lesser) -> None:
    async with lesser("refuse('clone3')") as host:
        assert await refusal(host) == (
            "start container: clone: Operation not permitted; "
            "minibus lacks CAP_SYS_ADMIN: run it on the host itself, or in a privileged container"
        )


async def test_no_pseudo_terminals(lesser: Lesser) -> None:
    async with lesser("no_mount('/dev/pts')") as host:
        assert (await refusal(host)).endswith("; mount devpts on /dev/pts, and make /dev/ptmx")


async def test_no_filters_in_the_kernel(lesser: Lesser) -> None:
    async with lesser(f"refuse('prctl', {errno.EINVAL}, arg0=22)") as host:
        created = await host.create(host.spec())
        assert (
            "system calls are not filtered: this kernel cannot; boot one with CONFIG_SECCOMP_FILTER" in created.warnings
        )
        await host.client.start(1)
