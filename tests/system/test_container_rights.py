"""What root in a container can do with its rights in the guests' user namespace, and who makes that namespace."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
from pathlib import Path

import psutil

from shims.container.net_maker import PATIENCE_S
from tests.system.container_host import Host, until
from tests.system.hostile.kit import volumes
from tests.system.test_container_warden import cloner_of

OWN = Path("/proc/self/ns/user").stat().st_ino


def maker_of(host: Host) -> psutil.Process:
    """The process that makes network namespaces."""
    (child,) = psutil.Process(cloner_of(host)).children()
    return child


def user_namespace(pid: int) -> int:
    """The number of that of a process."""
    return Path(f"/proc/{pid}/ns/user").stat().st_ino


async def test_ids_and_capabilities(host: Host) -> None:
    script = "cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; grep Cap /proc/self/status"
    words = (await host.run_inside(script)).split()
    assert words[:7] == [*("0", "0", "4294967295") * 2, "allow"]
    assert set(words[7:]) == {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "00000000e80435ff", "0" * 16}


async def test_root_inside_is_root_in_its_file_system(host: Host, kit: Path) -> None:
    """Owners of any number, modes, programs with the set-user-id bit, and what they become."""
    script = """
    echo hi >/file; chown 12345:4294967294 /file; chmod 600 /file; stat -c '%u %g %a' /file; cat /file
    cp /kit/lists /as77; chown 77:78 /as77; chmod 6755 /as77; chmod 755 /
    su -s /bin/sh -c '/as77 rights; cat /file || echo refused' nobody
    su -s /bin/sh -c 'id -u; id -G' nobody; chown 12:0 /dev/console && echo mine
    """
    text = await host.run_inside(script, volumes=volumes(kit))
    assert text.splitlines()[:2] == ["12345 4294967294 600", "hi"]
    assert "refused\n65534\n" in text and text.endswith("mine\n")
    assert f"\n77 78\n{0:016x}\n" in text
    assert (host.instance(1) / "fs/file").stat().st_uid == 12345


async def test_capabilities_of_files(host: Host, kit: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = tmp_path / "raw"
    shutil.copy(kit / "lists", program)
    os.setxattr(
        program, "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    )  # CAP_NET_RAW, effective
    script = "chmod 755 /; su -s /bin/sh -c '/given/raw rights' nobody"
    text = await host.run_inside(script, volumes=volumes(kit, given=tmp_path))
    assert text == f"65534 65534\n{1 << 13:016x}\n"


async def test_root_inside_is_root_in_its_network(host: Host) -> None:
    """Devices, addresses, raw sockets and low ports; and the settings can be read."""
    script = """
    ip addr add 10.9.8.7/24 dev lo && ping -c 1 -W 5 10.9.8.7 >/dev/null && echo pong
    ip link set lo down && ip link set lo up && echo up
    (echo hello | nc -l -p 80 -w 5 >/dev/null &); sleep 0.2; nc -w 2 127.0.0.1 80 </dev/null
    cat /proc/sys/net/ipv4/ip_forward; tunctl -t t0 >/dev/null 2>&1 && ip link show t0 >/dev/null && echo tun
    """
    text = await host.run_inside(script)
    has_tun = Path("/sys/class/misc/tun").exists()
    assert text.splitlines() == ["pong", "up", "hello", "0", *(["tun"] if has_tun else [])], text


async def test_a_network_of_its_own(host: Host) -> None:
    spaces = []
    for guest_id in (1, 2, 3):
        created = await host.launch(host.spec(guest_id))
        spaces.append((Path(f"/proc/{created.pid}/ns/net").stat().st_ino, user_namespace(created.pid)))
    trusted = await host.launch(host.spec(4, seccomp=False))
    assert len({network for network, _ in spaces}) == 3
    assert {user for _, user in spaces} == {user_namespace(maker_of(host).pid)} != {OWN}
    assert user_namespace(trusted.pid) == OWN


async def test_preinit_has_all_rights_in_the_guest_s_network(host: Host, tmp_path: Path) -> None:
    program = tmp_path / "preinit"
    program.write_text(
        "#!/bin/sh\nset -e\necho 1 >/proc/sys/net/ipv4/ip_forward\nip address add 198.51.100.7/32 dev lo\n"
    )
    program.chmod(0o755)
    text = await host.run_inside("cat /proc/sys/net/ipv4/ip_forward; ip address show dev lo", preinit=str(program))
    assert text.startswith("1\n")
    assert "inet 198.51.100.7/32" in text


async def test_the_maker_dies(host: Host) -> None:
    first = await host.launch(host.spec(1))
    maker = maker_of(host)
    os.kill(maker.pid, signal.SIGKILL)
    await asyncio.gather(*(host.launch(host.spec(guest_id)) for guest_id in range(2, 22)))
    assert {status.state for status in await host.client.list()} == {"running"}
    assert maker_of(host).pid != maker.pid
    assert user_namespace(maker_of(host).pid) == user_namespace(first.pid)  # the namespace is the same


async def test_the_maker_hangs(host: Host) -> None:
    await host.launch(host.spec(1))
    maker = maker_of(host)
    maker.suspend()
    await asyncio.wait_for(asyncio.gather(*(host.launch(host.spec(guest_id)) for guest_id in range(2, 22))), 20)
    assert maker_of(host).pid != maker.pid
    assert PATIENCE_S < 10


async def test_the_maker_ends_with_the_cloner(host: Host) -> None:
    await host.launch(host.spec(1))
    maker = maker_of(host)
    os.kill(cloner_of(host), signal.SIGKILL)
    await until(lambda: not maker.is_running() or maker.status() == psutil.STATUS_ZOMBIE, "the maker to end")
    other = await host.launch(host.spec(2))
    assert user_namespace(other.pid) == user_namespace(maker_of(host).pid)


async def test_descriptors_under_way_hold_up_nobody(host: Host, kit: Path) -> None:
    """The kernel counts them by user, and has no exception for a process without rights on the host: for the maker."""
    await host.launch(host.spec(1, init=("/kit/underway",), volumes=volumes(kit)))
    await host.console_says(1, b"Too many references")
    for guest_id in range(2, 6):
        await host.launch(host.spec(guest_id))
