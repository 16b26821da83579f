"""Start, pause, kill, limits and ends of containers, looked at from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec
import pytest

from shims.cgroups import cgroup
from shims.cgroups.cgroup import Cgroups, host_layout
from shims.container.client import WardenClient, WardenGoneError, WardenRefusedError
from shims.container.protocol import Exited, Volume
from shims.linux.process import start_ticks
from tests.system.container_host import Host, sh, until, volume

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_ticks(pid: int) -> int:
    """User and system time of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def freezer_state(host: Host, guest_id: int) -> bool:
    """Whether the kernel says that the container is frozen."""
    return Cgroups(host_layout(), host.tag).is_frozen(str(guest_id))


async def test_built_means_frozen_at_the_gate(host: Host) -> None:
    created = await host.create(host.spec(init=sh("echo ran; exec sleep 1000")))
    assert created.start_ticks == start_ticks(created.pid)
    assert freezer_state(host, 1)
    assert Path(f"/proc/{created.pid}/exe").samefile(sys.executable)  # nothing has been executed
    (status,) = await host.client.list()
    assert (status.state, status.pid, status.start_ticks) == ("building", created.pid, created.start_ticks)
    assert host.console(1) == b""
    await host.client.start(1)
    await host.console_says(1, b"ran")
    (status,) = await host.client.list()
    assert status.state == "running"


async def test_pause_stops_the_work(host: Host) -> None:
    created = await host.launch(host.spec(init=sh("while :; do :; done")))
    await until(lambda: cpu_ticks(created.pid) > 0, "the loop to work")
    await host.client.freeze(1)
    assert freezer_state(host, 1)
    assert (await host.client.list())[0].state == "frozen"
    before = cpu_ticks(created.pid)
    await asyncio.sleep(0.1)
    assert cpu_ticks(created.pid) == before
    await host.client.freeze(1)  # again: nothing to do
    await host.client.start(1)
    assert not freezer_state(host, 1)
    await until(lambda: cpu_ticks(created.pid) > before, "the loop to go on")
    await host.client.start(1)


@pytest.mark.parametrize("how", ["building", "running", "frozen"])
async def test_kill_leaves_nothing(host: Host, how: str) -> None:
    created = await host.create(host.spec(init=sh("sleep 1000 & sleep 1000 & wait")))
    if how != "building":
        await host.client.start(1)
        await until(lambda: len(cgroup.pids(host.tag, 1)) == 3, "two children")
    if how == "frozen":
        await host.client.freeze(1)
    await host.client.kill(1)
    assert [what for what in host.left() if f"process {host.pid} " not in what] == []
    assert not Path(f"/proc/{created.pid}").exists()
    exited = host.exits[1]  # it came before the answer
    assert (exited.exit, exited.clean, exited.oom_killed) == ("signal: killed", True, False)
    (status,) = await host.client.list()
    assert (status.state, status.exit, status.clean) == ("exited", "signal: killed", True)
    await host.client.kill(1)  # done already
    with pytest.raises(WardenRefusedError, match=r"^container 1 has ended: signal: killed$"):
        await host.client.start(1)
    await host.client.forget(1)
    assert await host.client.list() == ()


async def test_forgetting_a_living_one(host: Host) -> None:
    await host.create(host.spec())
    with pytest.raises(WardenRefusedError, match=r"^container 1 has not ended$"):
        await host.client.forget(1)


@pytest.mark.parametrize(
    ("script", "exit_", "clean"),
    [("exit 0", "exit status 0", True), ("exit 7", "exit status 7", False)],
)
async def test_exits(host: Host, script: str, exit_: str, clean: bool) -> None:
    await host.launch(host.spec(init=sh(script)))
    exited = await host.exit_of(1)
    assert (exited.exit, exited.clean) == (exit_, clean)


async def test_a_kill_from_elsewhere_is_not_clean(host: Host) -> None:
    created = await host.launch(host.spec())
    os.kill(created.pid, signal.SIGKILL)
    exited = await host.exit_of(1)
    assert (exited.exit, exited.clean, exited.oom_killed) == ("signal: killed", False, False)


async def test_relaunch_under_the_same_number(host: Host) -> None:
    await host.run_inside("echo one >/kept")
    first = await host.launch(host.spec(init=sh("exit 3")))
    await host.exit_of(1)
    second = await host.create(host.spec(init=sh("cat /kept; exit 0")))  # an ended one needs no forgetting
    assert second.pid != first.pid
    await host.client.start(1)
    await host.console_says(1, b"one")


async def test_memory_hog_is_killed_and_said_so(host: Host) -> None:
    # The whole output of yes without a newline: sort keeps it in memory.
    await host.launch(host.spec(init=sh("exec tail -c 1000000000 /dev/zero"), memory_mib=16))
    exited = await host.exit_of(1)
    assert (exited.exit, exited.clean, exited.oom_killed) == ("signal: killed", False, True)


async def test_the_smallest_memory_is_enough_to_start(host: Host) -> None:
    await host.launch(host.spec(init=sh("echo small"), memory_mib=4))
    await host.console_says(1, b"small")
    assert (await host.exit_of(1)).clean


async def test_cpu_hogs_are_held_to_the_quota(host: Host) -> None:
    created = await host.launch(host.spec(init=sh("(while :; do :; done) & (while :; do :; done) & wait"), vcpus=1))
    await until(lambda: len(cgroup.pids(host.tag, 1)) == 3, "both loops")
    hogs = [pid for pid in cgroup.pids(host.tag, 1) if pid != created.pid]
    used, since = sum(map(cpu_ticks, hogs)), time.monotonic()
    await asyncio.sleep(1.0)  # the time over which the share is measured
    used, elapsed_s = sum(map(cpu_ticks, hogs)) - used, time.monotonic() - since
    assert used / TICKS_PER_S < 1.25 * elapsed_s  # two loops on two processors would have had 2.0


async def test_preinit(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "preinit"
    out = tmp_path / "out"
    script.write_text(
        f"#!/bin/sh\nexec >{out} 2>&1\necho $# $0\nhostname\nls -d /proc/self/mounts {host.rootfs}\n"
        f"grep -c ' {host.instance(1)}/fs/proc ' /proc/self/mounts\n"
        "echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward\n"
    )
    script.chmod(0o755)
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    text = await host.run_inside("cat /proc/sys/net/ipv4/ip_forward", preinit=str(script))
    assert text == "1\n"
    assert out.read_text().splitlines() == [f"0 {script}", "guest1", "/proc/self/mounts", str(host.rootfs), "1", "1"]
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding


async def test_a_hanging_preinit_can_be_killed(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "preinit"
    mark = tmp_path / "mark"
    script.write_text(f"#!/bin/sh\ntouch {mark}\nexec sleep 1000\n")
    script.chmod(0o755)
    creation = asyncio.ensure_future(host.create(host.spec(preinit=str(script))))
    await until(mark.exists, "preinit to run")
    with pytest.raises(WardenRefusedError, match="still being built"):
        await host.client.start(1)
    await host.client.kill(1)
    with pytest.raises(WardenRefusedError, match=r"^container 1 was killed while it was being built$"):
        await creation
    assert await host.client.list() == ()


async def test_many_at_once(host: Host) -> None:
    count = 40
    specs = [host.spec(guest_id) for guest_id in range(count)]
    created = await asyncio.gather(*map(host.create, specs))
    assert len({one.pid for one in created}) == count
    await asyncio.gather(*(host.client.start(guest_id) for guest_id in range(count)))
    assert {one.state for one in await host.client.list()} == {"running"}
    await asyncio.gather(*(host.client.freeze(guest_id) for guest_id in range(0, count, 2)))
    await asyncio.gather(*(host.client.kill(guest_id) for guest_id in range(count)))
    assert len(host.exits) == count
    assert [what for what in host.left() if f"process {host.pid} " not in what] == []


async def test_kill_while_queued_and_building(host: Host) -> None:
    creations = [asyncio.ensure_future(host.create(host.spec(guest_id))) for guest_id in range(30)]
    await until(lambda: bool(cgroup.pids(host.tag, 0)), "the first to be on its way")
    await asyncio.gather(*(host.client.kill(guest_id) for guest_id in range(30)))
    results = await asyncio.gather(*creations, return_exceptions=True)
    assert any(isinstance(result, WardenRefusedError) and "before it was built" in str(result) for result in results)
    assert all(status.state == "exited" for status in await host.client.list())


async def test_a_second_client_sees_the_same(host: Host) -> None:
    seen: list[Exited] = []
    other = WardenClient(host.base / "run" / "warden", on_exited=seen.append)
    await other.connect()
    try:
        await host.launch(host.spec(init=sh("read x")))
        fd = await other.open_console(1)
        os.write(fd, b"\n")
        os.close(fd)
        await until(lambda: bool(seen), "the second client to hear of the end")
        assert seen[0] == await host.exit_of(1)
    finally:
        other.close()


async def test_a_client_that_leaves_harms_nothing(host: Host) -> None:
    creation = asyncio.ensure_future(host.create(host.spec()))
    await asyncio.sleep(0)
    host.client.close()
    with pytest.raises(WardenGoneError):
        await creation
    await host.connect()

    async def state() -> str:
        found = await host.client.list()
        return found[0].state if found else ""

    assert await state() == "building"
    deadline = time.monotonic() + 20
    while True:  # its answer went nowhere, but it is there and can be started
        try:
            await host.client.start(1)
            break
        except WardenRefusedError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    assert await state() == "running"


async def test_rubbish_on_the_socket(host: Host) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        sock.connect(str(host.base / "run" / "warden"))
        sock.send(msgspec.msgpack.encode({"type": "explode", "call": 9}))
        answer = msgspec.msgpack.decode(sock.recv(65536))
        assert (answer["type"], answer["call"]) == ("refused", 9)
        sock.send(b"\xc1rubbish")
        assert sock.recv(65536) == b""  # no number, no answer: the end
    assert await host.client.list() == ()


async def test_the_socket_is_ours_alone(host: Host) -> None:
    assert (host.base / "run" / "warden").stat().st_mode & 0o777 == 0o600
    assert (host.base / "run").stat().st_mode & 0o777 == 0o700


async def test_as_many_as_there_may_be(host: Host, tmp_path: Path) -> None:
    volumes: tuple[Volume, ...] = ()
    for number in range(100):
        (tmp_path / str(number)).write_text(f"{number}\n")
        volumes += volume(tmp_path / str(number), f"/v/{number}")
    text = await host.run_inside("cat /v/* | sort -n | tail -1; ls /dev/fifos | wc -l", volumes=volumes, fifos=1024)
    assert text == "99\n1024\n"
