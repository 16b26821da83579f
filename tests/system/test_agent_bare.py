"""The agent as one static program, where there is nothing else."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shims.linux.libc import LIBC
from shims.linux.process import CLONE_NEWNET
from tests.integration.agent_server import PATIENCE_S, UUID, Peer, Server
from tests.system.container_host import Host

MOST_BYTES = 12 * 1024 * 1024
MOST_PSS_KIB = 12 * 1024
MOST_START_S = 0.1


class Bare:
    """A root with one file in it, and an agent there."""

    def __init__(self, root: Path, program: Path) -> None:
        self.root = root
        root.mkdir()
        shutil.copy(program, root / "agent")
        self.server = Server(root / "cc")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *flags: str, alone: bool = False) -> subprocess.Popen[bytes]:
        """With an empty environment; `alone` with a network of its own, which nothing else changes."""
        process = subprocess.Popen(
            ["/agent", "-uuid", UUID, *flags],
            executable="/agent",
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: self._enter(alone=alone),
            cwd="/",
        )
        self.processes.append(process)
        return process

    def _enter(self, *, alone: bool) -> None:
        if alone and LIBC.unshare(CLONE_NEWNET) != 0:
            os._exit(1)
        os.chroot(self.root)

    def close(self) -> None:
        """End what runs."""
        self.server.close()
        for process in self.processes:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def bare(base_dir: Path, agent_program: Path) -> Iterator[Bare]:
    """A root with nothing but an agent and a server's socket."""
    bare = Bare(base_dir / "root", agent_program)
    yield bare
    bare.close()


def test_size(agent_program: Path) -> None:
    assert agent_program.stat().st_size < MOST_BYTES
    assert b"INTERP" not in subprocess.run(["readelf", "-l", agent_program], capture_output=True, check=True).stdout


def test_version_and_help_need_nothing(bare: Bare) -> None:
    for flag, text in (("-version", b"minibus-agent 0"), ("-h", b"usage: minibus-agent")):
        output, error = bare.start(flag).communicate(timeout=PATIENCE_S)
        assert output.startswith(text)
        assert error == b""


def test_no_uuid(bare: Bare) -> None:
    process = subprocess.run(
        ["/agent"], env={}, preexec_fn=lambda: os.chroot(bare.root), capture_output=True, cwd="/", check=False
    )
    assert process.returncode == 1
    assert process.stderr.startswith(b"minibus-agent: this guest has no UUID: neither -uuid nor ")


def test_runs_programs_and_takes_files(bare: Bare) -> None:
    """No /dev/null, no /proc, no /tmp, no PATH, no library."""
    bare.start("-level", "debug")
    peer = bare.server.begin()
    peer.run(1, "/agent", "-version")
    assert peer.result(1)[:2] == ("exited", 0)
    peer.run(2, "sh")
    assert "command not found in /usr/local/sbin:" in peer.hear("done", serial=2)["error"]
    content = os.urandom(100_000)
    peer.put(3, {"x": content})
    peer.feed_file(3, 0, content)
    assert peer.hear("done", serial=3)["outcome"] == "exited"
    peer.say(type="get", serial=4, patterns=["/tmp/miniccc/files/*"])
    assert peer.got_file(peer.hear("file")) == content
    peer.say(type="probe", serial=5, protocol="tcp", host="localhost", port=1, wait_s=0.0)
    assert "/etc/hosts has it not" in peer.hear("done", serial=5)["error"]
    peer.say(type="dial", connection=2, host="127.0.0.1", port=1)
    assert peer.hear("dialed")["error"] == "Connection refused"


def test_executable_that_is_deleted_goes_on(bare: Bare) -> None:
    bare.start()
    peer = bare.server.begin()
    (bare.root / "agent").unlink()
    peer.say(type="level", serial=1, level="info")
    assert peer.hear("done", serial=1)["outcome"] == "exited"


def pss_kib(pid: int) -> int:
    """Proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def test_memory_while_idle_and_after_work(bare: Bare) -> None:
    process = bare.start()
    peer = bare.server.begin()
    peer.run(1, "/agent", "-version")
    peer.result(1)
    assert pss_kib(process.pid) < MOST_PSS_KIB
    content = bytes(20_000_000)
    peer.put(2, {"x": content})
    peer.feed_file(2, 0, content)
    peer.hear("done", serial=2)
    peer.say(type="get", serial=3, patterns=["/tmp/miniccc/files/x"])
    assert peer.got_file(peer.hear("file")) == content
    assert pss_kib(process.pid) < MOST_PSS_KIB + 4096


def test_starts_quickly(bare: Bare) -> None:
    times = []
    for _ in range(5):
        before = time.monotonic()
        process = bare.start()
        peer = bare.server.accept()
        peer.hear("hello")
        times.append(time.monotonic() - before)
        process.kill()
        process.communicate()
        bare.processes.remove(process)
    assert statistics.median(times) < MOST_START_S * 3  # the machine may be busy


def test_idle_agent_hardly_wakes(bare: Bare) -> None:
    process = bare.start(alone=True)  # it wakes for each change of addresses
    peer = bare.server.begin(keepalive_s=5.0)

    def switches() -> int:
        text = Path(f"/proc/{process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("voluntary_ctxt")))

    peer.read(1.0)
    before = switches()
    time.sleep(6)
    assert switches() - before <= 3


def test_no_place_to_write(bare: Bare) -> None:
    """A read-only root; memory has to do, and the server is told."""
    subprocess.run(["mount", "--bind", bare.root, bare.root], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", bare.root], check=True)
        process = bare.start()
        peer = bare.server.accept()
        hello = peer.hear("hello")
        assert hello["durable"] is False
        peer.welcome(hello)
        peer.run(1, "/agent", "-version")
        assert peer.result(1)[0] == "exited"
        peer.put(2, {"x": b"x"})
        assert "there is no place in this guest" in peer.hear("done", serial=2)["error"]
        process.terminate()
        _, error = process.communicate(timeout=PATIENCE_S)
        bare.processes.remove(process)
        assert b"what has run is remembered only while this agent lives" in error
    finally:
        subprocess.run(["umount", bare.root], check=True)


# --- in containers


async def serve(host: Host, *init: str, **changes: Any) -> tuple[Server, Peer]:
    """A container with an agent, and its server."""
    await host.create(host.spec(backchannel=True, init=init, **changes))
    server = Server(host.instance(1) / "cc" / "cc")
    await host.client.start(1)
    return server, server.accept()


async def test_agent_is_process_1(host: Host, agent_rootfs: Path) -> None:
    """It reaps what nobody waits for, and nothing else ends it."""
    host.rootfs = agent_rootfs
    server, peer = await serve(host, "/bin/minibus-agent")
    try:
        assert peer.begin() == []
        peer.run(1, "/bin/sh", "-c", "for i in 1 2 3; do (sleep 0.2 &) ; done; echo $$")
        assert peer.result(1)[0] == "exited"
        peer.run(2, "/bin/sh", "-c", "sleep 1; ps -o pid,stat,comm")
        listed = peer.result(2)[2].decode()
        assert "Z" not in "".join(line.split()[1] for line in listed.splitlines()[1:]), listed
        peer.run(3, "/bin/cat", "/etc/minibus/uuid", "/proc/1/comm")
        assert peer.result(3)[2].decode().split() == [UUID, "minibus-agent"]
    finally:
        server.close()


async def test_frozen_container(host: Host, agent_rootfs: Path) -> None:
    host.rootfs = agent_rootfs
    server, peer = await serve(host, "/init")
    try:
        assert peer.begin(keepalive_s=0.5) == []
        peer.run(1, "sh", "-c", "echo begun; sleep 1; echo ended", timeout_s=8)
        peer.hear("started")
        await host.client.freeze(1)
        await asyncio.sleep(5)
        await host.client.start(1)
        peer.say(type="ping", n=1)
        assert peer.result(1)[:3] == ("exited", 0, b"begun\nended\n")
        assert not peer.is_over
    finally:
        server.close()


async def test_container_that_starts_again_has_another_boot(host: Host, agent_rootfs: Path) -> None:
    host.rootfs = agent_rootfs
    boots = []
    for _ in range(2):
        server, peer = await serve(host, "/init")
        hello = peer.hear("hello")
        boots.append(hello["boot"])
        peer.welcome(hello)
        peer.hear("synced")
        assert not [message for message in peer.heard if message["type"] == "record"]
        peer.run(1, "echo", "x")  # the same serial in another boot: it runs
        assert peer.result(1)[2] == b"x\n"
        await host.client.kill(1)
        await host.client.forget(1)
        server.close()
    assert boots[0] != boots[1]


async def test_tag_and_full_disk_inside(host: Host, agent_rootfs: Path) -> None:
    host.rootfs = agent_rootfs
    server, peer = await serve(host, "/init", memory_mib=256)
    try:
        peer.begin()
        peer.run(1, "minibus-agent", "-tag", "key", "value")
        tag = peer.hear("tag")
        peer.say(type="tagged", number=tag["number"], error="")
        assert peer.result(1) == ("exited", 0, b"", b"")
        # A small disk where files go.
        peer.run(2, "sh", "-c", "mkdir -p /tmp/miniccc/files && readlink -f /dev/shm")
        assert peer.result(2)[0] == "exited"
        peer.run(3, "ln", "-s", "/dev/shm", "/tmp/miniccc/files/small")
        peer.result(3)
        huge = 70 * 1024 * 1024  # /dev/shm has 64 MiB
        entry = {"name": "small/huge", "size": huge, "mode": 0o644, "sha256": "0" * 64}
        peer.say(type="put", serial=4, first=0, files=[entry], more=False)
        assert "No space left on device" in peer.hear("done", serial=4)["error"]
        peer.run(5, "sh", "-c", "head -c 60m /dev/zero >/dev/shm/fill")
        peer.result(5)
        peer.run(6, "ls", "-A", "/dev/shm")
        assert peer.result(6)[2] == b"fill\n"
        # Full only while it is written.
        half = {"name": "small/half", "size": 3 * 1024 * 1024, "mode": 0o644, "sha256": "0" * 64}
        peer.say(type="put", serial=7, first=0, files=[half], more=False)
        peer.run(8, "true")
        stream = peer.hear("want", serial=7)["stream"]
        filler = await _fill(host)
        for at in range(0, 3 * 1024 * 1024, 65536):
            peer.say(type="data", serial=7, stream=stream, offset=at, data=bytes(65536), eof=False)
        assert "No space left on device" in peer.hear("done", serial=7)["error"]
        assert peer.result(8)[0] == "exited"
        peer.run(9, "ls", "-A", "/dev/shm")
        assert peer.result(9)[2].split() == [b"fill", filler]
    finally:
        server.close()


async def _fill(host: Host) -> bytes:
    """Use up /dev/shm of the container, from outside."""
    pid = next(status.pid for status in await host.client.list())
    path = Path(f"/proc/{pid}/root/dev/shm/more")
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            return b"more"
    raise AssertionError("it was never full")
