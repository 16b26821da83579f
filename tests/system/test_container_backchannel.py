"""The way from a container to its server: a directory of the host that can be looked at, and no more."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import pytest

from shims.agent.line.wire import FrameReader, decode
from tests.system.container_host import PATIENCE_S, UUID, Host, sh


def listen(host: Host) -> socket.socket:
    """A server where the agent looks for it."""
    directory = host.instance(1) / "cc"
    (directory / "cc").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "cc"))
    listener.listen()
    listener.setblocking(False)
    return listener


LOOK = """
readlink /cc
grep ' /dev/minibus ' /proc/self/mounts | cut -d' ' -f4
touch /dev/minibus/x 2>&1
rm /dev/minibus/cc 2>&1
mkdir /dev/minibus/y 2>&1
ls /dev/minibus
"""


async def test_container_sees_the_socket_and_can_change_nothing(host: Host) -> None:
    await host.create(host.spec(backchannel=True, init=sh(f"exec >/out 2>&1\n{LOOK}")))
    assert (host.instance(1) / "cc").stat().st_mode & 0o777 == 0o700
    with listen(host):
        await host.client.start(1)
        await host.exit_of(1)
        lines = (host.instance(1) / "fs" / "out").read_text().splitlines()
        assert [path.name for path in (host.instance(1) / "cc").iterdir()] == ["cc"]
    assert lines[0] == "dev/minibus/cc"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines[1].split(","))
    assert lines[2:] == [
        "touch: /dev/minibus/x: Read-only file system",
        "rm: can't remove '/dev/minibus/cc': Read-only file system",
        "mkdir: can't create directory '/dev/minibus/y': Read-only file system",
        "cc",
    ]


async def test_agent_sees_a_server_that_is_restarted(host: Host, agent_rootfs: Path) -> None:
    host.rootfs = agent_rootfs
    await host.create(host.spec(backchannel=True, init=("/bin/minibus-agent", "-level", "debug")))
    hellos = []
    for start in range(3):
        with listen(host) as listener:
            if start == 0:
                await host.client.start(1)
            loop = asyncio.get_running_loop()
            connection, _ = await asyncio.wait_for(loop.sock_accept(listener), PATIENCE_S)
            with connection:
                connection.setblocking(False)
                reader, bodies = FrameReader(), list[bytes | None]()
                while len(bodies) < 2:
                    bodies += reader.feed(await asyncio.wait_for(loop.sock_recv(connection, 65536), PATIENCE_S))
                assert bodies[0] is None and bodies[1] is not None
                hellos.append(decode(bodies[1]))
    assert {hello["uuid"] for hello in hellos} == {UUID}
    assert {hello["hostname"] for hello in hellos} == {"guest1"}
    assert len({hello["boot"] for hello in hellos}) == 1


async def test_no_backchannel(host: Host) -> None:
    text = await host.run_inside("ls -d /cc /dev/minibus 2>&1")
    assert "No such file" in text
    assert not (host.instance(1) / "cc").exists()


async def test_what_an_image_has_at_cc_stays(host: Host, base_dir: Path, rootfs: Path) -> None:
    mine = base_dir / "mine"
    shutil.copytree(rootfs, mine, symlinks=True)
    (mine / "cc").write_text("of the image\n")
    host.rootfs = mine
    text = await host.run_inside("cat /cc; ls -d /dev/minibus", backchannel=True)
    assert text == "of the image\n/dev/minibus\n"


@pytest.mark.parametrize("snapshot", [True, False])
async def test_second_start(host: Host, base_dir: Path, rootfs: Path, snapshot: bool) -> None:
    mine = base_dir / "mine"
    shutil.copytree(rootfs, mine, symlinks=True)
    for _ in range(2):
        text = await host.run_inside("readlink /cc", backchannel=True, snapshot=snapshot, filesystem=str(mine))
        assert text == "dev/minibus/cc\n"
