"""Root inside a container tries to get out, by every way we know; none leads anywhere.

`hostile/attacks.c` has the attacks. What is not refused without the filter of system calls shows that the filter is
what refuses it; the rest is refused by missing capabilities, by the device rules of the cgroup, or by the mounts.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from shims.container.setup import tables
from tests.system.container_host import Host
from tests.system.hostile.kit import volumes

FILTERED = {
    "unshare_user",
    "unshare_user_32",
    "clone_user",
    "clone_user_32",
    "clone3",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "io_uring",
    "quotactl",
}
"""They succeed where `vm config seccomp` is false."""
REFUSALS = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS", "ENODATA", "ENOKEY", "ECONNREFUSED"}
HARMLESS = {"ptrace_init": "ok", "chroot_out": "ENOTTY"}
"""One's own init may be traced; and who leaves a chroot is back at the root of the container."""
OPENABLE = {"c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0"}
TUN = {"c 10:200"}
"""Where the kernel has it."""
ELSEWHERE = {"c 5:2", *(f"c 136:{minor}" for minor in range(12))}
"""Terminals: outside of a devpts file system their numbers open nothing."""


async def outcomes(host: Host, kit: Path, *, seccomp: bool) -> dict[str, str]:
    """What each attack came to."""
    text = await host.run_inside("/kit/attacks; true", volumes=volumes(kit), fifos=1, seccomp=seccomp)
    found = dict(line.split() for line in text.splitlines())
    assert len(found) > 60 and "chroot_out" in found, text  # it went on to the end
    return found


async def test_no_attack_succeeds(host: Host, kit: Path) -> None:
    found = await outcomes(host, kit, seccomp=True)
    assert {name: found[name] for name in HARMLESS} == HARMLESS
    assert {name: how for name, how in found.items() if name not in HARMLESS and how not in REFUSALS} == {}


async def test_what_only_the_filter_refuses(host: Host, kit: Path) -> None:
    """And that without it nothing of the host is reached at once either: neither its files nor its settings."""
    found = await outcomes(host, kit, seccomp=False)
    assert {name for name, how in found.items() if how == "ok"} - set(HARMLESS) == FILTERED
    for name in ("shocker", "shocker_32", "fresh_proc", "unprotect", "core_pattern", "mount", "mount_32", "remount"):
        assert found[name] in ("EPERM", "EROFS"), name


async def test_without_the_filter_a_capability_less(host: Host) -> None:
    """With CAP_DAC_READ_SEARCH, open_by_handle_at(2) opens every file of a file system of which one file is shown."""
    script = "grep CapEff /proc/self/status"
    assert await host.run_inside(script) == "CapEff:\t00000000e80435ff\n"
    assert await host.run_inside(script, seccomp=False) == "CapEff:\t00000000e80435fb\n"


@pytest.mark.parametrize("directory", ["/", "/kit", "/dev"])
async def test_no_device_of_the_host_can_be_opened(host: Host, kit: Path, directory: str) -> None:
    """Of all block and character devices by number, wherever their node is made, by a guest that may make any."""
    text = await host.run_inside(f"/kit/lists devices {directory}", volumes=volumes(kit), seccomp=False)
    *lines, end = text.splitlines()
    assert end == "scanned"
    assert {line.removesuffix(" ok") for line in lines if line.endswith(" ok")} - ELSEWHERE - TUN == OPENABLE
    others = {line.rsplit(" ", 1)[0] for line in lines if not line.endswith(" ok")}
    assert others <= ELSEWHERE | TUN, others


async def test_nothing_opens_where_devices_are_forbidden(host: Host, kit: Path) -> None:
    text = await host.run_inside("/kit/lists devices /dev/shm", volumes=volumes(kit), seccomp=False)
    assert text == "scanned\n"


async def test_others_make_no_device_at_all(host: Host, kit: Path) -> None:
    script = "for d in / /kit /dev /dev/shm; do /kit/lists devices $d; done"
    assert await host.run_inside(script, volumes=volumes(kit)) == "mknod EPERM\n" * 4


async def test_no_setting_of_the_host_can_be_written(host: Host, kit: Path) -> None:
    """Of all files in /proc and /sys that are not a process's own."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    assert await host.run_inside("/kit/lists writable; echo looked", volumes=volumes(kit)) == "looked\n"
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_what_tells_of_the_host_is_empty(host: Host) -> None:
    paths = [path.decode() for path in tables.MASKED_FILES + tables.MASKED_DIRECTORIES]
    there = [path for path in paths if Path(path).exists()]
    assert "/proc/keys" in there or "/proc/timer_list" in there or "/sys/firmware" in there
    script = f"for p in {' '.join(there)}; do [ -d $p ] && ls -A $p || cat $p; done; echo end"
    assert await host.run_inside(script) == "end\n"


async def test_nothing_open_is_left_to_a_container(host: Host, kit: Path) -> None:
    (host.base / "held").write_text("a descriptor that the warden has")
    assert await host.run_inside("/kit/lists descriptors", volumes=volumes(kit)) == "scanned\n"


async def test_keys_of_whoever_started_minibus_are_not_inherited(base_dir: Path, rootfs: Path, kit: Path) -> None:
    host = Host(base_dir, rootfs)
    keyctl, add_key = "ctypes.CDLL(None).syscall(250, 1, None)", "b'user', b'minibus-probe', b'x', 1, -3"
    try:
        await host.start(prelude=f"import ctypes; {keyctl}; assert ctypes.CDLL(None).syscall(248, {add_key}) > 0")
        assert (await outcomes(host, kit, seccomp=False))["session_key"] == "ENOKEY"
    finally:
        await host.stop()


@pytest.mark.parametrize("init", ["/proc/self/exe", "/link", "/script"])
async def test_no_image_gets_hold_of_the_host_s_interpreter(
    host: Host, kit: Path, rootfs: Path, tmp_path: Path, init: str
) -> None:
    """Its init is a link to what the process executed before, which the image's loader may then change."""
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    (image / "lib64").mkdir()
    shutil.copy(kit / "attacks", image / "lib64/ld-linux-x86-64.so.2")
    (image / "link").symlink_to("/proc/self/exe")
    (image / "script").write_text("#!/proc/self/exe\n")
    (image / "script").chmod(0o755)
    before = Path(sys.executable).stat()
    await host.launch(host.spec(filesystem=str(image), init=(init,)))
    await host.exit_of(1)
    assert (host.instance(1) / "fs/out").read_text() == "EROFS\n"
    assert Path(sys.executable).stat().st_ctime_ns == before.st_ctime_ns


async def test_fifos_stay_what_they_are(host: Host) -> None:
    """The host opens them by name: nothing else may stand there."""
    script = (
        "cd /dev/fifos; rm -f fifo0; mv fifo0 x; ln -sf /etc/passwd fifo0; mkdir other; mv other fifo0; "
        "rm -rf /dev/fifos; mv /dev/fifos /dev/gone; [ -p fifo0 ] && echo a fifo"
    )
    text = await host.run_inside(script, fifos=1)
    assert text.splitlines()[-1] == "a fifo"
    assert (host.instance(1) / "fifo0").is_fifo()


async def test_the_host_s_names_of_cgroups_are_hidden(host: Host) -> None:
    created = await host.launch(host.spec(2))
    assert f"/minibus/{host.tag}/2" in Path(f"/proc/{created.pid}/cgroup").read_text()
    text = await host.run_inside("cat /proc/self/cgroup; ls -A /sys/fs/cgroup")
    assert {line.split(":", 2)[2] for line in text.splitlines()} == {"/"}


async def test_no_process_and_no_socket_of_the_host_is_seen(host: Host) -> None:
    """Not even one of the same user: processes, sockets without a file, shared memory and queues are its own."""
    server = await asyncio.start_unix_server(lambda reader, writer: None, path=f"\0minibus-{os.getpid()}")
    try:
        text = await host.run_inside("ls /proc | grep -c '^[0-9]'; cat /proc/net/unix | wc -l; ls -A /dev/shm; ipcs -q")
    finally:
        server.close()
        await server.wait_closed()
    processes, sockets, *rest = text.splitlines()
    assert int(processes) <= 4
    assert int(sockets) == 1  # the line of names
    assert f"minibus-{os.getpid()}" not in " ".join(rest)


async def test_signals_reach_nobody_outside(host: Host) -> None:
    await host.launch(host.spec(2, init=("/bin/sleep", "1000")))
    await host.run_inside("trap '' TERM; kill -TERM -1; for p in 1 2 3 4 5; do kill -0 $p 2>/dev/null; done; echo done")
    assert [status.state for status in await host.client.list() if status.guest_id == 2] == ["running"]


async def test_the_host_keeps_its_name_and_clock(host: Host) -> None:
    before = os.uname().nodename
    script = "hostname stolen || echo name; date -s @0 2>&1 | grep -q 'not permitted' && echo refused"
    text = await host.run_inside(script)
    assert {"name", "refused"} <= set(text.splitlines())
    assert os.uname().nodename == before


async def test_limits_counted_by_user_leave_the_host_its_half(host: Host) -> None:
    """Root in all containers and on the host share these counts."""
    created = await host.launch(host.spec())
    for name in ("pending signals", "msgqueue size"):
        inside, outside = (
            Path(f"/proc/{pid}/limits").read_text().split(f"Max {name}")[1].split()[1] for pid in (created.pid, "self")
        )
        assert outside == "unlimited" or int(inside) == int(outside) // 2
