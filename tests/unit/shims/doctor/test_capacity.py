"""How many guests fit, worked out from made-up figures."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shims.cgroups import cgroup
from shims.cgroups.cgroup import Layout, Tree
from shims.doctor import capacity, figures, limits
from shims.doctor.capacity import Guest
from shims.doctor.feature import State
from shims.doctor.figures import Figures
from tests.unit.shims.doctor.facts import FIGURES, machine

GIB = 1 << 30


def with_sysctls(**changes: int) -> Figures:
    """Plenty of all, but for these; two underscores stand for a dot."""
    return replace(FIGURES, sysctls={**FIGURES.sysctls, **{k.replace("__", "."): v for k, v in changes.items()}})


@pytest.mark.parametrize(
    ("found", "guest", "first", "fits", "command"),
    [
        (
            with_sysctls(kernel__pty__max=1500),
            Guest(),
            "pseudo-terminals (kernel.pty.max)",
            1500 - 1024 - 10,
            "sysctl -w kernel.pty.max=4096",
        ),
        (
            replace(FIGURES, descriptors=1064),
            Guest(),
            "open files of the process container",
            1000 // capacity.CONTAINER_FILES,
            "ulimit -n 8192",
        ),
        (replace(FIGURES, memory_bytes=10 * GIB), Guest(memory_mib=64), "memory (MiB)", 160, ""),
        (
            replace(FIGURES, guests_memory_bytes=9 * GIB),
            Guest(memory_mib=64),
            "memory in the cgroup of all guests (MiB)",
            144,
            "",
        ),
        (
            replace(with_sysctls(net__ipv4__neigh__default__gc_thresh3=1024), neighbours={"ipv4": 24}),
            Guest(interfaces=2),
            "ipv4 neighbours (net.ipv4.neigh.default.gc_thresh3)",
            500,
            "sysctl -w net.ipv4.neigh.default.gc_thresh3=4096",
        ),
        (
            with_sysctls(fs__inotify__max_user_instances=128),
            Guest(watchers=1),
            "inotify instances (fs.inotify.max_user_instances)",
            128,
            "sysctl -w fs.inotify.max_user_instances=2048",
        ),
        (
            replace(with_sysctls(kernel__pid_max=32768), tasks=768),
            Guest(processes=40),
            "process ids (kernel.pid_max)",
            800,
            "sysctl -w kernel.pid_max=65536",
        ),
        (replace(FIGURES, guests_tasks=300), Guest(), "processes in the cgroup of all guests", 300, ""),
        (replace(FIGURES, inodes=1400), Guest(), "inodes of the base directory", 100, ""),
        (replace(FIGURES, disk_bytes=1 << 20), Guest(), "disk of the base directory (MiB)", 16, ""),
        (replace(FIGURES, memory_cgroups=65_000), Guest(), "memory cgroups", 535, ""),
        (
            with_sysctls(user__max_pid_namespaces=7),
            Guest(),
            "namespaces (user.max_pid_namespaces)",
            7,
            "sysctl -w user.max_pid_namespaces=2048",
        ),
        (with_sysctls(kernel__pty__max=5), Guest(), "pseudo-terminals (kernel.pty.max)", 0, "sysctl -w"),
    ],
)
def test_what_is_hit_first(found: Figures, guest: Guest, first: str, fits: int, command: str) -> None:
    room = capacity.capacity(found, guest)
    assert (room.resources[0].name, room.resources[0].fits, room.fits) == (first, fits, fits)
    assert room.resources[0].command.startswith(command)
    assert [each.fits for each in room.resources] == sorted(each.fits for each in room.resources)
    for row in room.resources:
        assert (row.command or row.advice) if row.fits < 1000 else not (row.command or row.advice), row


def test_the_command_makes_room_for_as_many_as_are_expected() -> None:
    for expected in (1, 100, 1000, 4096, 20_000):
        tight = with_sysctls(kernel__pty__max=0)
        command = capacity.capacity(tight, Guest(), expected).resources[0].command
        mended = with_sysctls(kernel__pty__max=int(command.rpartition("=")[2]))
        assert capacity.capacity(mended, Guest(), expected).fits >= expected


def test_interfaces_take_memory() -> None:
    def each(guest: Guest) -> float:
        rows = capacity.capacity(FIGURES, guest).resources
        return next(row.per_guest for row in rows if row.name == "memory (MiB)")

    assert each(Guest(interfaces=10)) == pytest.approx(each(Guest()) + 0.74)
    assert each(Guest(memory_mib=100, interfaces=1)) == pytest.approx(100.074)


def test_nothing_known_is_no_room_and_no_error() -> None:
    room = capacity.capacity(Figures(), Guest())
    assert [row.name for row in room.resources] == ["memory cgroups"]


def test_limits_are_listed_when_they_are_tight() -> None:
    found = with_sysctls(fs__inotify__max_user_instances=128, kernel__pty__max=1500)
    listed = {each.name: each for each in limits.judge(found, capacity.capacity(found, Guest()))}
    assert {name for name, each in listed.items() if each.state is not State.OK} == {
        *("pseudo-terminals (kernel.pty.max)", "fs.inotify.max_user_instances"),
    }
    assert listed["fs.inotify.max_user_instances"].command == "sysctl -w fs.inotify.max_user_instances=1000"
    assert listed["pseudo-terminals (kernel.pty.max)"].found == "466 guests"


# ---------------------------------------------------------------- looking


def layout(version: int, root: str) -> Any:
    """A host whose only tree this is."""
    return lambda: Layout((Tree(version, root, frozenset({"memory", "pids"})),))


@pytest.mark.parametrize(
    ("version", "files", "own", "guests", "tasks"),
    [
        (
            2,
            {
                "/proc/self/cgroup": "0::/system/minibus.service\n",
                "/cg/system/minibus.service/memory.max": "max\n",
                "/cg/system/memory.max": "1000\n",
                "/cg/system/memory.current": "400\n",
                "/cg/minibus/memory.max": "5000\n",
                "/cg/minibus/memory.current": "1\n",
                "/cg/minibus/pids.max": "70\n",
                "/cg/minibus/pids.current": "20\n",
            },
            600,
            4999,
            50,
        ),
        (
            1,
            {
                "/proc/self/cgroup": "4:memory:/a\n3:cpu:/b\n0::/\n",
                "/cg/a/memory.limit_in_bytes": "300\n",
                "/cg/a/memory.usage_in_bytes": "400\n",
                "/cg/memory.limit_in_bytes": "9223372036854771712\n",
                "/cg/minibus/memory.limit_in_bytes": "9223372036854771712\n",
                "/cg/minibus/pids.max": "max\n",
            },
            0,
            None,
            None,
        ),
    ],
)
def test_cgroups_leave_what_the_tightest_leaves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    files: dict[str, str],
    own: int | None,
    guests: int | None,
    tasks: int | None,
) -> None:
    monkeypatch.setattr(cgroup, "host_layout", layout(version, "/cg"))
    found = figures.look(machine(tmp_path, files), str(tmp_path))
    assert (found.own_memory_bytes, found.guests_memory_bytes, found.guests_tasks) == (own, guests, tasks)


def test_a_made_up_machine_is_looked_at(tmp_path: Path) -> None:
    source = machine(
        tmp_path,
        {
            "/proc/sys/kernel/pty/max": "4096\n",
            "/proc/sys/fs/file-nr": "527\t0\t2466170\n",
            "/proc/loadavg": "0.00 0.01 0.05 2/533 4711\n",
            "/proc/meminfo": "MemTotal:  24684084 kB\nMemAvailable:   1024 kB\nSwapFree: 0 kB\nHugePages_Free: 0\n",
            "/proc/net/stat/arp_cache": "entries  allocs\n0000000a  00000000\n0000000a  00000000\n",
            "/proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t263\t1\n",
        },
    )
    found = figures.look(source, str(tmp_path))
    assert (found.sysctl("kernel.pty.max"), found.sysctl("kernel.pid_max")) == (4096, None)
    assert (found.files, found.tasks, found.memory_bytes) == (527, 533, 1 << 20)
    assert (found.neighbours, found.memory_cgroups) == ({"ipv4": 10, "ipv6": 0}, 263)
    assert found.descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert found.disk_bytes is not None
    assert 0 < found.disk_bytes <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
