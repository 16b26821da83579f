"""The warden itself: its lock, its node, its death and what a new one makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from shims.cgroups.cgroup import Cgroups, host_layout
from shims.container.client import WardenGoneError, WardenRefusedError
from shims.linux import process
from tests.system.container_host import ROOT, Host, kill_hard, sh, until

CLONER_DIED = "start container: clone: the process that clones containers has died"


@pytest.fixture
def subreaper() -> Iterator[None]:
    """This test is who inherits the containers of a dead warden, as the node is."""
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    yield
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.fixture
async def with_node(base_dir: Path, rootfs: Path) -> AsyncIterator[Host]:
    """A warden whose node is the test."""
    host = Host(base_dir, rootfs)
    try:
        await host.start(with_node=True)
        yield host
    finally:
        await host.stop()


def reap(pid: int) -> int:
    """The wait status of an orphan that this process has inherited."""
    return os.waitpid(pid, 0)[1]


def reap_all() -> list[int]:
    """The wait statuses of all orphans that this process has inherited, once none is left."""
    statuses = []
    with contextlib.suppress(ChildProcessError):
        while True:
            statuses.append(reap(-1))
    return statuses


async def test_a_second_warden_is_refused(host: Host) -> None:
    command = [sys.executable, "-m", "shims.container.warden", "--base", str(host.base)]
    second = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert f"a warden is already running on {host.base} (pid {host.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert await host.client.list() == ()


async def test_a_base_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "shims.container.warden", "--base", str(tmp_path / "file")]
    result = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr == f"python -m shims.container.warden: {tmp_path / 'file'} is not a directory\n"


async def test_ping_and_stop(with_node: Host) -> None:
    host = with_node
    host.tell(type="ping", n=5)
    assert host.hear() == {"type": "pong", "n": 5, "inbox": 0}
    await host.launch(host.spec())
    host.tell(type="stop")
    assert host.hear() == {"type": "staying"}
    host.tell(type="ping", n=6)
    assert host.hear() == {"type": "pong", "n": 6, "inbox": 0}  # stays: it owns a container
    await host.client.kill(1)
    host.client.close()
    assert await host.ended() == 0


async def test_the_node_goes_and_nothing_lives(with_node: Host) -> None:
    host = with_node
    host.client.close()
    assert host.node is not None
    host.node.close()
    assert await host.ended() == 0
    assert not (host.base / "run" / "warden").exists()


async def test_the_node_goes_and_a_container_lives(with_node: Host) -> None:
    host = with_node
    await host.launch(host.spec(init=sh("read x; exit 4")))
    assert host.node is not None
    host.node.close()
    os.write(host.masters[1], b"\n")
    assert (await host.exit_of(1)).exit == "exit status 4"
    host.client.close()
    assert await host.ended() == 0


async def test_sigterm(host: Host) -> None:
    await host.launch(host.spec())
    os.kill(host.pid, signal.SIGTERM)
    await host.client.list()
    with pytest.raises(WardenRefusedError, match=r"^the warden still owns 1 living container$"):
        await host.client.shutdown()
    await host.client.kill(1)
    host.client.close()
    assert await host.ended() == 0


async def test_a_new_warden_adopts(host: Host, subreaper: None) -> None:
    running = await host.launch(host.spec(1))
    frozen = await host.launch(host.spec(2))
    await host.client.freeze(2)
    built = await host.create(host.spec(3, init=sh("echo must not run")))
    await host.launch(host.spec(4, init=sh("exit 5")))
    ended = await host.exit_of(4)
    await host.crash()
    await host.start()
    found = {one.guest_id: one for one in await host.client.list()}
    assert (found[1].state, found[1].pid, found[1].start_ticks) == ("running", running.pid, running.start_ticks)
    assert (found[2].state, found[2].pid) == ("frozen", frozen.pid)
    assert (found[4].state, found[4].exit) == ("exited", ended.exit)
    # The one at the gate can never be started by anybody: it has been ended.
    assert reap(built.pid) == signal.SIGKILL
    exited = await host.status_once(3, "exited")
    assert (exited.exit, exited.clean) == ("unknown", False)
    assert "before it was started" in exited.message
    assert b"must not run" not in host.console(3)

    await host.client.freeze(1)
    await host.client.start(1)
    await host.client.start(2)
    with pytest.raises(WardenRefusedError, match="has no console here"):
        await host.client.open_console(1)
    killing = asyncio.ensure_future(host.client.kill(1))
    assert await asyncio.to_thread(reap, running.pid) == signal.SIGKILL
    await killing
    assert (host.exits[1].exit, host.exits[1].clean) == ("unknown", True)
    await host.launch(host.spec(5))  # and it builds new ones
    killing = asyncio.ensure_future(host.client.kill(2))
    await asyncio.to_thread(reap, frozen.pid)
    await killing


async def test_the_node_delivers_the_status(with_node: Host, subreaper: None) -> None:
    host = with_node
    quick = await host.launch(host.spec(1, init=sh("read x; exit 9")))
    early = await host.launch(host.spec(2, init=sh("read x; exit 8")))
    await host.crash()
    os.write(host.masters[2], b"\n")
    status = await asyncio.to_thread(reap, early.pid)  # before there is a warden to tell
    await host.start(with_node=True)
    host.tell(type="reaped", pid=early.pid, status=status)
    assert (await host.status_once(2, "exited")).exit == "exit status 8"
    os.write(host.masters[1], b"\n")
    host.tell(type="reaped", pid=quick.pid, status=await asyncio.to_thread(reap, quick.pid))
    exited = await host.exit_of(1)
    assert (exited.exit, exited.clean) == ("exit status 9", False)


async def test_a_half_built_one_is_cleaned_up(host: Host, tmp_path: Path, subreaper: None) -> None:
    script = tmp_path / "preinit"
    mark = tmp_path / "mark"
    script.write_text(f"#!/bin/sh\necho $PPID >{mark}\nexec sleep 1000\n")
    script.chmod(0o755)
    creation = asyncio.ensure_future(host.create(host.spec(preinit=str(script))))
    await until(mark.exists, "preinit to run")
    assert Cgroups(host_layout(), host.tag).names() == {"1"}
    await host.crash()
    with pytest.raises(WardenGoneError):
        await creation
    # It had asked to die with its parent. Others of the warden's children are orphans as well, and may end before it.
    assert signal.SIGKILL in await asyncio.to_thread(reap_all)
    await host.start()
    await until(lambda: not Cgroups(host_layout(), host.tag).names(), "the cgroups to go")
    assert await host.client.list() == ()


@pytest.mark.parametrize("moment_ms", range(0, 40, 4))
async def test_killed_at_any_moment_nothing_is_lost_or_started(host: Host, moment_ms: int, subreaper: None) -> None:
    specs = [host.spec(guest_id, init=sh("echo ran; exec sleep 1000")) for guest_id in range(8)]
    creations = [asyncio.ensure_future(host.create(spec)) for spec in specs]
    await asyncio.sleep(moment_ms / 1000)
    await host.crash()
    results = await asyncio.gather(*creations, return_exceptions=True)
    acknowledged = {result.guest_id for result in results if not isinstance(result, BaseException)}
    await host.start()
    listed = {status.guest_id for status in await host.client.list()}
    assert acknowledged <= listed <= set(range(8))
    for guest_id in acknowledged:
        status = await host.status_once(guest_id, "exited")
        assert "before it was started" in status.message
    await until(lambda: not Cgroups(host_layout(), host.tag).names(), "every cgroup to go")
    await until(lambda: not orphans(host), "every process to end")
    for guest_id in host.masters:
        assert b"ran" not in host.console(guest_id)


def orphans(host: Host) -> list[int]:
    """What this process has inherited and is still running; those that have ended are reaped, as the node does it."""
    found = []
    for child in psutil.Process().children():
        if child.pid != host.pid and os.waitpid(child.pid, os.WNOHANG)[0] == 0:
            found.append(child.pid)
    return found


def cloner_of(host: Host) -> int:
    """The pid of the warden's cloner."""
    # Containers that are being built bear its name; it is older.
    named = [child for child in psutil.Process(host.pid).children() if child.name() == "mb-cloner"]
    return min(named, key=psutil.Process.create_time).pid


async def test_the_cloner_dies(host: Host) -> None:
    await host.launch(host.spec(1))
    os.kill(cloner_of(host), signal.SIGKILL)
    creations = [asyncio.ensure_future(host.create(host.spec(guest_id))) for guest_id in range(2, 12)]
    results = await asyncio.gather(*creations, return_exceptions=True)
    for result in results:  # those that it had been handed fail, each with a sentence; the others come from a new one
        assert not isinstance(result, BaseException) or str(result) == CLONER_DIED
    await host.launch(host.spec(20))
    assert {status.state for status in await host.client.list()} <= {"running", "building"}
    zombies = [child for child in psutil.Process(host.pid).children() if child.status() == psutil.STATUS_ZOMBIE]
    assert zombies == []


async def test_the_cloner_ends_with_the_warden(host: Host) -> None:
    await host.create(host.spec())
    cloner = psutil.Process(cloner_of(host))
    await host.crash()
    await until(lambda: not cloner.is_running() or cloner.status() == psutil.STATUS_ZOMBIE, "the cloner to end")
    await host.start()


async def test_a_set_up_that_takes_too_long(base_dir: Path, rootfs: Path, tmp_path: Path) -> None:
    script = tmp_path / "preinit"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o755)
    host = Host(base_dir, rootfs)
    try:
        await host.start(prelude="from shims.container import builder; builder.READY_TIMEOUT_S = 1.0")
        with pytest.raises(WardenRefusedError, match=r"was not ready within 1 s: its preinit is still running$"):
            await host.create(host.spec(preinit=str(script)))
        assert await host.client.list() == ()
    finally:
        await host.stop()


async def test_a_host_without_libseccomp(base_dir: Path, rootfs: Path) -> None:
    host = Host(base_dir, rootfs)
    try:
        await host.start(prelude="import sys; sys.modules['pyseccomp'] = None")
        created = await host.create(host.spec(init=("/bin/grep", "^Seccomp:", "/proc/self/status")))
        assert any(warning.startswith("system calls are not filtered: ") for warning in created.warnings)
        await host.client.start(1)
        await host.console_says(1, b"Seccomp:\t0")
    finally:
        await host.stop()


async def test_torn_journal(host: Host) -> None:
    created = await host.launch(host.spec())
    await host.crash()
    journal = host.base / "state" / "warden" / "journal"
    with journal.open("ab") as file:
        file.write(b'{"type":"ended","guest_id":1,"exi')
    await host.start()
    (status,) = await host.client.list()
    assert (status.state, status.pid) == ("running", created.pid)
    kill_hard(created.pid)
    assert (await host.exit_of(1)).exit == "unknown"
