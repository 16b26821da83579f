"""Guests mounted on this host: the cc actor and the kernel, with agents of the tests' own that serve a directory."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bus import codec
from bus.errors import BusError, ConflictError, NotFoundError, UnavailableError
from bus.messages.cc import ClearCc, EndCc
from bus.messages.mount import GetMounts, GuestUnmounted, MountGuest, MountInfo, MountState, UnmountGuests
from bus.messages.vm import VmState
from bus.paths import base_tag
from shims.agent.mounts import fuse
from shims.agent.mounts.server import Server
from shims.files import guest_mount
from shims.linux import mountinfo
from tests.integration.cc_agent import Agent
from tests.integration.cc_host import CcHost, cc_host, uuid_of
from tests.integration.processes import kill, until

WAIT_S = 30.0


class Guest(Agent):
    """Serves a directory; `mute` keeps it from answering, and it answers with `lie` if there is one."""

    root: Path
    mute = False
    lie: Callable[[bytes], bytes] | None = None
    server: Server | None = None
    asked = 0

    def on_mount(self, message: dict[str, Any]) -> None:
        """Begin; what an earlier session has left is void."""
        self.on_unmount(message)
        self.server = Server(bytes(self.root))

    def on_unmount(self, message: dict[str, Any]) -> None:
        """End."""
        if self.server is not None:
            self.server.close()

    def on_fuse(self, message: dict[str, Any]) -> None:
        """One request."""
        self.asked += 1
        if self.mute or self.server is None:
            return
        reply = self.lie(message["data"]) if self.lie else self.server.take(message["data"])
        if reply is not None:
            self.send(type="fuse", mount=message["mount"], data=reply)


class Mounted:
    """A guest, and the directory that it is mounted on."""

    def __init__(self, host: CcHost, guest: Guest, point: Path) -> None:
        self.host, self.guest, self.point = host, guest, point

    async def mount(self) -> None:
        """On the directory."""
        await self.host.ask(MountGuest(target="vm1", path=str(self.point)))

    async def row(self) -> MountInfo:
        """What the list says of it."""
        (row,) = (await self.host.ask(GetMounts())).mounts
        return row

    async def lost(self) -> str:
        """Wait until it is, and is off the host; why."""

        async def is_lost() -> bool:
            try:
                return (await self.row()).state is MountState.LOST and not self.lines()
            except BusError:
                return False

        await until(is_lost, WAIT_S)
        return (await self.row()).reason

    def lines(self) -> list[mountinfo.Mounted]:
        """What the kernel has mounted there."""
        text = Path("/proc/self/mountinfo").read_text()
        return [one for one in mountinfo.read(text) if one.point == str(self.point)]

    async def shell(self, command: str) -> tuple[int, str]:
        """Run something on this host that looks into the mount; status and what it said."""
        process = await asyncio.create_subprocess_shell(
            f"cd {self.point.parent} && {command}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        async with asyncio.timeout(WAIT_S):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


@pytest.fixture
async def mounted(host: CcHost, tmp_path: Path) -> AsyncIterator[Mounted]:
    """A guest that is connected; the mounting is for the test."""
    guest = Guest(host.launch(1), uuid_of(1))
    guest.facts["features"] = ["mount"]
    guest.root, point = tmp_path / "guest", tmp_path / "mnt"
    guest.root.mkdir()
    point.mkdir()
    one = Mounted(host, guest, point)
    async with guest:
        await host.connected(1)
        yield one
    if guest.server is not None:
        guest.server.close()
    guest_mount.unmount(guest_mount.is_of(base_tag(host.base)))


async def test_a_mount_from_its_beginning_to_its_end(mounted: Mounted, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    (mounted.guest.root / "escape").symlink_to(secret)
    (mounted.guest.root / "up").symlink_to("../secret")
    subscription = await mounted.host.port.subscribe("cc/")
    await mounted.mount()
    (line,) = mounted.lines()
    assert {"nosuid", "nodev", "noexec", "nosymfollow"} <= line.options
    row = await mounted.row()
    assert (row.vm, row.path, row.source, row.state) == ("vm1", str(mounted.point), line.source, MountState.MOUNTED)
    assert await mounted.shell("echo hi >mnt/a && mkdir mnt/d && mv mnt/a mnt/d/b && cat mnt/d/b") == (0, "hi\n")
    assert (mounted.guest.root / "d" / "b").read_text() == "hi\n"
    for link in ("escape", "up"):
        status, said = await mounted.shell(f"cat mnt/{link}")
        assert status and "the host's" not in said
    assert (await mounted.shell("readlink mnt/up")) == (0, "../secret\n")
    await mounted.host.ask(UnmountGuests(target=str(mounted.point)))
    assert mounted.lines() == [] and list(mounted.point.iterdir()) == []
    assert (await mounted.host.ask(GetMounts())).mounts == ()
    topics: list[str] = []
    while len(topics) < 2:
        async with asyncio.timeout(WAIT_S):
            topics.append((await subscription.next()).topic)
    assert [topic.split("/")[3] for topic in topics] == ["mounted", "unmounted"]


def nonsense(request: bytes) -> bytes:
    """Of the right size, and all ones."""
    _, operation, unique, *_ = fuse.HEADER_IN.unpack_from(request)
    sizes = {fuse.LOOKUP: fuse.ENTRY_SIZE, fuse.GETATTR: fuse.ATTR_OUT.size + fuse.ATTR.size, fuse.STATFS: 80}
    sizes |= {fuse.OPENDIR: fuse.OPEN_OUT.size, fuse.OPEN: fuse.OPEN_OUT.size, fuse.CREATE: fuse.ENTRY_SIZE + 16}
    return fuse.reply(unique, b"\xff" * sizes.get(operation, 200))


def too_much(request: bytes) -> bytes:
    """More than was asked for."""
    return fuse.reply(fuse.HEADER_IN.unpack_from(request)[2], bytes(60_000))


def answers_others(request: bytes) -> bytes:
    """A number that nobody has asked with."""
    return fuse.reply(999_999)


HARMS = {
    "the agent has closed it": None,
    "the agent has sent what is no reply to any request": answers_others,
    "the agent has replied what the kernel does not take: Invalid argument": too_much,
    "it was unmounted": None,
    "minibus was restarted": None,
    "the VM has ended": None,
}


async def test_whoever_waits_in_a_mount_that_is_lost_hears_of_it(mounted: Mounted) -> None:
    """And it can be mounted again as soon as its agent is there."""
    for reason, lie in HARMS.items():
        await mounted.host.connected(1)
        await mounted.mount()
        (mounted.guest.root / "file").write_text(reason)
        assert await mounted.shell("cat mnt/file") == (0, reason)
        mounted.guest.lie, mounted.guest.mute, mounted.guest.asked = lie, lie is None, 0
        waiting = asyncio.create_task(mounted.shell("cat mnt/other"))
        await until(lambda: _is(mounted.guest.asked > 0), WAIT_S)
        match reason:
            case "the agent has closed it":
                mounted.guest.hang_up()
            case "the VM has ended":
                mounted.host.change(1, state=VmState.QUIT)
            case "it was unmounted":
                await mounted.shell("umount -f mnt")  # which also breaks it off, and may find it gone then
            case "minibus was restarted":
                await mounted.host.restart()
            case _:
                pass
        status, said = await waiting
        assert status and "mnt/other" in said
        assert await mounted.lost() == reason
        mounted.guest.lie, mounted.guest.mute = None, False


async def test_nonsense_is_an_error_for_who_asks(mounted: Mounted) -> None:
    """The kernel believes no guest; everything that looks into the mount comes to its end, and the mount can go."""
    await mounted.mount()
    mounted.guest.lie = nonsense
    for command in (
        "ls -la mnt",
        "cat mnt/y",
        "mkdir mnt/z",
        "echo >mnt/v",
        "mv mnt/a mnt/b",
        "stat mnt/q",
        "rm mnt/r",
    ):
        status, said = await mounted.shell(command)
        assert status and said, command
    await mounted.host.ask(UnmountGuests())
    assert mounted.lines() == []


async def test_who_is_refused(mounted: Mounted, tmp_path: Path) -> None:
    host = mounted.host
    async with await host.agent(2):
        await host.connected(2)
        with pytest.raises(UnavailableError, match="the agent in vm2 is too old to be mounted"):
            await host.ask(MountGuest(target="vm2", path=str(mounted.point)))
        await mounted.mount()
        with pytest.raises(ConflictError, match="vm1 is mounted at"):
            await mounted.mount()
        with pytest.raises(NotFoundError, match="vm2 is not mounted"):
            await host.ask(UnmountGuests(target="vm2"))
        assert len((await host.ask(GetMounts())).mounts) == 1


async def test_ends_that_take_it_along(mounted: Mounted) -> None:
    """Clearing all, the end of the namespace, and the orderly end of the actor."""
    for request in (ClearCc(), EndCc()):
        await mounted.host.connected(1)
        await mounted.mount()
        subscription = await mounted.host.port.subscribe(f"cc/minimega/{uuid_of(1)}/unmounted/")
        await mounted.host.ask(request)
        assert mounted.lines() == []
        async with asyncio.timeout(WAIT_S):
            event = codec.decode_body((await subscription.next()).body)
        assert isinstance(event, GuestUnmounted) and (event.path, event.reason) == (str(mounted.point), "")
    await mounted.host.connected(1)
    await mounted.mount()
    process = mounted.host.processes.pop("cc")
    process.terminate()
    try:
        assert await asyncio.to_thread(process.wait, WAIT_S) == 0
    finally:
        kill(process)
    assert mounted.lines() == []


async def _is(value: bool) -> bool:
    return value
