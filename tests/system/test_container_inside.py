"""What a container finds around it, looked at from inside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shims.cgroups.cgroup import pids
from shims.container.setup.tables import MASKED_DIRECTORIES, MASKED_FILES, READ_ONLY_PATHS
from shims.linux.capability import CONTAINER_MASK
from tests.system.container_host import UUID, Host, sh, volume


async def test_mount_table(host: Host) -> None:
    text = await host.run_inside("cat /proc/self/mounts")
    mounts = {line.split()[1]: line.split() for line in text.splitlines()}
    assert mounts["/"][0] == f"minibus_{host.tag}_1"
    assert mounts["/"][2] == "overlay"
    wanted = {
        "/proc": ("proc", {"nosuid", "nodev", "noexec"}),
        "/dev": ("tmpfs", {"noexec", "mode=755"}),
        "/dev/shm": ("tmpfs", {"nosuid", "nodev", "noexec", "size=65536k"}),
        "/dev/pts": ("devpts", {"nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"}),
        "/sys": ("sysfs", {"ro", "nosuid", "nodev", "noexec"}),
    }
    for path, (fstype, options) in wanted.items():
        assert mounts[path][2] == fstype
        assert options <= set(mounts[path][3].split(",")), path
    allowed = {
        "/",
        "/dev/console",
        "/etc/minibus/uuid",
        *wanted,
        *(path.decode() for path in READ_ONLY_PATHS + MASKED_FILES + MASKED_DIRECTORIES),
    }
    assert set(mounts) <= allowed  # nothing of the host's
    assert "max=256" in mounts["/dev/pts"][3] and "nr_inodes=65536" in mounts["/dev/shm"][3]
    assert "strictatime" not in text and "relatime" not in mounts["/dev"][3]


async def test_devices(host: Host) -> None:
    names = "null zero full tty random urandom net/tun"
    text = await host.run_inside(f"cd /dev; stat -c '%n %F %a %t:%T' {names}; ls /dev | sort")
    lines = text.splitlines()
    assert lines[:7] == [
        "null character special file 666 1:3",
        "zero character special file 666 1:5",
        "full character special file 666 1:7",
        "tty character special file 666 5:0",
        "random character special file 666 1:8",
        "urandom character special file 666 1:9",
        "net/tun character special file 666 a:c8",
    ]
    assert " ".join(lines[7:]) == "console fd full net null ptmx pts random shm stderr stdin stdout tty urandom zero"


async def test_links_lead_somewhere(host: Host) -> None:
    script = (
        "for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); [ -e /dev/$l ] || echo dangling; done"
    )
    assert (await host.run_inside(script)).splitlines() == [
        "fd /proc/self/fd",
        "stdin /proc/self/fd/0",
        "stdout /proc/self/fd/1",
        "stderr /proc/self/fd/2",
        "ptmx pts/ptmx",
    ]


async def test_unprivileged_programs_can_write_null(host: Host) -> None:
    assert await host.run_inside("""su -s /bin/sh -c 'id -u; echo x >/dev/null && echo ok' nobody""") == "65534\nok\n"


async def test_console_is_the_terminal(host: Host) -> None:
    await host.launch(
        host.spec(
            init=sh("tty; test /dev/console -ef /proc/self/fd/0 && echo same; echo x >/dev/tty; read x; echo got $x")
        )
    )
    await host.console_says(1, b"same\r\nx\r\n")
    os.write(host.masters[1], b"hello\n")
    await host.console_says(1, b"got hello")
    assert b"/dev/console" in host.console(1)


async def test_protected_paths(host: Host) -> None:
    script = """
    echo 1 >/proc/sys/kernel/printk || echo sys
    echo h >/proc/sysrq-trigger || echo sysrq
    mkdir /sys/x || echo sysfs
    for p in /proc/sys /proc/irq /proc/bus; do [ -e $p ] && grep " $p " /proc/self/mounts | cut -d' ' -f2,4; done
    [ -e /proc/kcore ] && stat -c %t:%T /proc/kcore
    true
    """
    text = await host.run_inside(script)
    assert "sys\n" in text and "sysfs\n" in text
    for path in ("/proc/sys", "/proc/irq", "/proc/bus"):
        if Path(path).exists():
            assert f"{path} ro,nosuid,nodev,noexec" in text
    if Path("/proc/sysrq-trigger").exists():
        assert "sysrq\n" in text
    if Path("/proc/kcore").exists():
        assert text.endswith("1:3\n")


async def test_identity(host: Host) -> None:
    script = (
        "hostname; cat /etc/minibus/uuid; stat -c %a /etc/minibus/uuid; echo $$; umask; pwd; ls -A /dev | grep uuid"
    )
    text = await host.run_inside(script)
    assert text.splitlines() == ["guest1", UUID, "444", "1", "0022", "/"]
    uuid = host.instance(1) / "uuid"
    assert uuid.read_text() == f"{UUID}\n"
    assert uuid.stat().st_mode & 0o777 == 0o400


async def test_dmi_shows_the_uuid_where_the_host_has_it(host: Host) -> None:
    path = "/sys/devices/virtual/dmi/id/product_uuid"
    text = await host.run_inside(f"cat {path} || echo none")
    assert text.splitlines()[-1] == (UUID if Path(path).exists() else "none")


async def test_nothing_of_the_warden_is_left(host: Host) -> None:
    created = await host.launch(host.spec(init=("/bin/sleep", "1000")))
    inside = Path(f"/proc/{created.pid}")
    assert sorted(entry.name for entry in (inside / "fd").iterdir()) == ["0", "1", "2"]
    assert (inside / "environ").read_bytes() == b""
    status = dict(line.split(":\t", 1) for line in (inside / "status").read_text().splitlines() if ":\t" in line)
    assert {status[name] for name in ("SigIgn", "SigBlk", "SigCgt")} == {"0" * 16}
    assert os.getpriority(os.PRIO_PROCESS, created.pid) == 0
    assert status["Name"] == "sleep"
    assert pids(host.tag, 1) == [created.pid]  # no helper stays beside it
    assert (inside / "limits").read_text().split("Max open files")[1].split()[:2] == (
        Path("/proc/self/limits").read_text().split("Max open files")[1].split()[:2]
    )


async def test_environment_is_empty(host: Host) -> None:
    await host.launch(host.spec(init=("/bin/busybox", "env")))
    assert (await host.exit_of(1)).exit == "exit status 0"
    assert host.console(1) == b""


async def test_capabilities_and_filter(host: Host) -> None:
    text = await host.run_inside("grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status")
    found = dict(line.split(":\t") for line in text.splitlines())
    mask = f"{CONTAINER_MASK:016x}"
    assert mask == "00000000e80435ff"
    assert {name: found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd"), mask
    )
    assert found["CapAmb"] == "0" * 16
    assert found["Seccomp"].strip() == "2"
    assert found["NoNewPrivs"].strip() == "0"


async def test_no_new_user_namespace_and_no_mounts(host: Host) -> None:
    text = await host.run_inside(
        "unshare -U true || echo refused; mount -t tmpfs x /tmp || echo no mount; umount /proc || echo no umount"
    )
    assert "refused\n" in text and "no mount\n" in text and "no umount\n" in text
    assert text.count("Operation not permitted") + text.count("mount: permission denied") == 3


async def test_filter_can_be_lifted(host: Host) -> None:
    text = await host.run_inside("grep ^Seccomp: /proc/self/status; unshare -U true && echo allowed", seccomp=False)
    assert text.splitlines() == ["Seccomp:\t0", "allowed"]


async def test_devices_cannot_be_opened(host: Host) -> None:
    # 1:1 is /dev/mem, 7:0 a loop device, 1:3 what is at /dev/null.
    script = (
        "mknod /m c 1 1; mknod /l b 7 0; mknod /n c 1 3; mknod /dev/m c 1 1; "
        "mknod /p p && echo pipe; head -c 1 /dev/zero | od -An -tx1"
    )
    text = await host.run_inside(script)
    assert text.count("Operation not permitted") == 4
    assert text.endswith("pipe\n 00\n")


async def test_devices_can_be_made_by_whom_the_host_trusts(host: Host) -> None:
    script = "mknod /m c 1 1 && mknod /l b 7 0 && echo made; cat /m; cat /l; head -c 1 /dev/zero | od -An -tx1"
    text = await host.run_inside(script, seccomp=False)
    assert text.startswith("made\n")
    assert text.count("Operation not permitted") == 2
    assert text.endswith(" 00\n")


async def test_loopback_is_up_and_alone(host: Host) -> None:
    text = await host.run_inside(
        "cat /sys/class/net/lo/flags; ls /sys/class/net; ping -c 1 -W 5 127.0.0.1 >/dev/null && echo pong"
    )
    lines = text.splitlines()
    assert int(lines[0], 16) & 1
    assert "pong" in lines


async def test_own_process_space(host: Host) -> None:
    text = await host.run_inside("for p in /proc/[0-9]*; do echo $p; done")
    assert text == "/proc/1\n"


async def test_fifo_passes_data(host: Host) -> None:
    await host.launch(host.spec(fifos=2, init=sh("ls /dev/fifos; cat /dev/fifos/fifo1 >/got")))
    fifo = host.instance(1) / "fifo1"
    assert (host.instance(1) / "fifo0").is_fifo()
    assert fifo.stat().st_mode & 0o777 == 0o660
    fifo.write_text("through the wall\n")
    assert (await host.exit_of(1)).clean
    assert (host.instance(1) / "fs" / "got").read_text() == "through the wall\n"
    await host.console_says(1, b"fifo0")
    await host.client.forget(1)
    assert (await host.run_inside("ls /dev/fifos", fifos=2)) == "fifo0\nfifo1\n"  # a relaunch finds them there


async def test_volumes(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "a,b:c"
    source.mkdir()
    (source / "file").write_text("seen\n")
    single = tmp_path / "single"
    single.write_text("one file\n")
    spec = volume(source, "/deep/er/mnt") + volume(single, "etc/single")
    text = await host.run_inside("cat /deep/er/mnt/file /etc/single; echo back >/deep/er/mnt/new", volumes=spec)
    assert text == "seen\none file\n"
    assert (source / "new").read_text() == "back\n"


async def test_a_link_in_the_image_leads_nowhere_else(host: Host, tmp_path: Path) -> None:
    image = tmp_path / "image"
    outside = tmp_path / "outside"
    outside.mkdir()
    (image / "bin").mkdir(parents=True)
    (image / "bin/busybox").write_bytes((host.rootfs / "bin/busybox").read_bytes())
    (image / "bin/busybox").chmod(0o755)
    for name in ("sh", "cat", "ls"):
        (image / "bin" / name).symlink_to("busybox")
    (image / "etc").symlink_to(outside)
    (image / "mnt").symlink_to("../../../../../../.." + str(outside))
    given = tmp_path / "given"
    given.mkdir()
    refused = None
    try:
        await host.run_inside("ls /", filesystem=str(image), volumes=volume(given, "/mnt/x"))
    except Exception as error:
        refused = str(error)
    assert list(outside.iterdir()) == []
    assert refused is not None and "volume" in refused  # the link dangles inside, so there is no place for the volume


async def test_direct_mode(host: Host, rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    text = await host.run_inside(
        "cat /etc/minibus/uuid; touch /made; grep ' / ' /proc/self/mounts", snapshot=False, filesystem=str(image)
    )
    assert text.splitlines()[0] == UUID
    assert "overlay" not in text
    assert (image / "made").exists()
    assert (image / "etc/minibus/uuid").read_text() == ""  # bound over while it ran
    assert not (host.instance(1) / "fs").exists()


async def test_missing_directories_are_made(host: Host, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "b").mkdir(parents=True)
    (image / "b/sh").write_bytes((host.rootfs / "bin/busybox").read_bytes())
    (image / "b/sh").chmod(0o755)
    await host.launch(host.spec(filesystem=str(image), init=("/b/sh", "-c", "echo alive")))
    await host.console_says(1, b"alive")
    assert sorted(entry.name for entry in image.iterdir()) == ["b"]
    await host.exit_of(1)
    assert (host.instance(1) / "fs/etc/minibus/uuid").exists()


@pytest.mark.parametrize("name", ["with space", "comma,colon:", "back\\slash", "ünï"])
async def test_paths_of_any_kind(host: Host, name: str, tmp_path: Path) -> None:
    image = tmp_path / name
    (image / "b").mkdir(parents=True)
    (image / "b/sh").write_bytes((host.rootfs / "bin/busybox").read_bytes())
    (image / "b/sh").chmod(0o755)
    instance = host.base / name
    await host.launch(host.spec(filesystem=str(image), instance_dir=str(instance), init=("/b/sh", "-c", "echo >/here")))
    assert (await host.exit_of(1)).clean
    assert (instance / "fs/here").exists()


async def test_changes_stay_with_the_instance(host: Host, rootfs: Path) -> None:
    await host.run_inside("echo 1 >/kept")
    assert await host.run_inside("cat /kept") == "1\n"
    assert not (rootfs / "kept").exists()
    assert (rootfs / "etc/minibus/uuid").read_text() == ""
