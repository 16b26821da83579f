"""The figures that decide how many guests fit, looked up."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from shims.cgroups import cgroup
from shims.cgroups.hierarchy import TOP
from shims.doctor.source import Source

SYSCTLS: Final = (
    "kernel.pid_max",
    "kernel.threads-max",
    "kernel.pty.max",
    "kernel.pty.reserve",
    "kernel.pty.nr",
    "kernel.keys.root_maxkeys",
    "fs.file-max",
    "fs.nr_open",
    "fs.mount-max",
    "fs.aio-max-nr",
    "fs.aio-nr",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "fs.epoll.max_user_watches",
    "vm.max_map_count",
    "net.core.wmem_default",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv6.neigh.default.gc_thresh3",
    "user.max_ipc_namespaces",
    "user.max_mnt_namespaces",
    "user.max_net_namespaces",
    "user.max_pid_namespaces",
    "user.max_uts_namespaces",
)
"""By their names in sysctl(8)."""
_OF_THE_MOMENT: Final = ("kernel.pty.nr", "fs.aio-nr")
MEMORY_CGROUPS: Final = 65_535
"""MEM_CGROUP_ID_MAX in mm/memcontrol.c: cgroups with the memory controller have numbers of 16 bits."""


@dataclass(frozen=True)
class Figures:
    """What was found; None where it cannot be known or is not limited."""

    sysctls: Mapping[str, int | None] = field(default_factory=dict)
    descriptors: int | None = None
    """Hard limit of a process."""
    locked_memory_bytes: int | None = None
    files: int = 0
    """Open on the whole host."""
    tasks: int = 0
    """Processes and threads on the whole host."""
    neighbours: Mapping[str, int] = field(default_factory=dict)
    """Entries in use, by `ipv4` and `ipv6`."""
    memory_bytes: int | None = None
    """Available without swapping."""
    swap_bytes: int = 0
    own_memory_bytes: int | None = None
    """What the cgroups that this process is in leave to it; guests have cgroups of their own."""
    guests_memory_bytes: int | None = None
    """What all guests together are left by the cgroup that they share."""
    guests_tasks: int | None = None
    memory_cgroups: int = 0
    inodes: int | None = None
    """Free where the base directory is."""
    disk_bytes: int | None = None

    def sysctl(self, name: str) -> int | None:
        """One of `SYSCTLS`."""
        return self.sysctls.get(name)


def look_at_limits(source: Source) -> Figures:
    """Only those that stay the same whatever the host does at the moment."""
    return Figures(
        sysctls={name: source.sysctl(name) for name in SYSCTLS if name not in _OF_THE_MOMENT},
        descriptors=_hard(resource.RLIMIT_NOFILE),
    )


def look(source: Source, directory: str) -> Figures:
    """Look them up; `directory` is on the file system of the base directory."""
    tasks = source.text("/proc/loadavg").split()
    memory = _meminfo(source)
    there = os.statvfs(directory)
    return Figures(
        sysctls={name: source.sysctl(name) for name in SYSCTLS},
        descriptors=_hard(resource.RLIMIT_NOFILE),
        locked_memory_bytes=_hard(resource.RLIMIT_MEMLOCK),
        files=source.sysctl("fs.file-nr") or 0,
        tasks=int(tasks[3].partition("/")[2]) if len(tasks) > 3 else 0,
        neighbours={"ipv4": _neighbours(source, "arp_cache"), "ipv6": _neighbours(source, "ndisc_cache")},
        memory_bytes=memory.get("MemAvailable"),
        swap_bytes=memory.get("SwapFree", 0),
        own_memory_bytes=_least_left(source, _own_cgroups(source, "memory"), _MEMORY),
        guests_memory_bytes=_least_left(source, _guests_cgroups("memory"), _MEMORY),
        guests_tasks=_least_left(source, _guests_cgroups("pids"), _TASKS),
        memory_cgroups=_memory_cgroups(source),
        inodes=there.f_favail or None,  # btrfs says 0: it makes them as needed
        disk_bytes=there.f_bavail * there.f_frsize,
    )


def _hard(which: int) -> int | None:
    hard = resource.getrlimit(which)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _meminfo(source: Source) -> dict[str, int]:
    """In bytes, by the names of proc(5)."""
    found = {}
    for line in source.text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found


def _neighbours(source: Source, table: str) -> int:
    """Each processor has a line; the first column, in base 16, is that of all together."""
    words = source.text(f"/proc/net/stat/{table}").split("\n", 1)[-1].split()
    try:
        return int(words[0], 16) if words else 0
    except ValueError:
        return 0


def _memory_cgroups(source: Source) -> int:
    for line in source.text("/proc/cgroups").splitlines():
        words = line.split()
        if len(words) == 4 and words[0] == "memory" and words[2].isdecimal():
            return int(words[2])
    return 0


_MEMORY: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_TASKS: Final = (("pids.max", "pids.current"),)
"""Files of limits, and of what is in use of them: version 2 and version 1."""


def _least_left(source: Source, directories: Iterable[str], files: tuple[tuple[str, str], ...]) -> int | None:
    """What these cgroups leave; None if none of them limits it."""
    left = []
    for directory in directories:
        for limit_file, used_file in files:
            limit = source.number(f"{directory}/{limit_file}")
            if limit is not None and limit < 1 << 60:  # version 1 says more than that when there is none
                left.append(max(limit - (source.number(f"{directory}/{used_file}") or 0), 0))
    return min(left, default=None)


def _guests_cgroups(controller: str) -> Iterator[str]:
    """Those that all guests are below."""
    for tree in cgroup.host_layout().trees:
        if controller in tree.controllers:
            yield from (tree.root, f"{tree.root}/{TOP}")


def _own_cgroups(source: Source, controller: str) -> Iterator[str]:
    """The directories of the own cgroup and of those above it, as far as they are mounted here."""
    for tree in cgroup.host_layout().trees:
        if controller not in tree.controllers:
            continue
        for line in source.text("/proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if controller in names.split(",") if tree.version == 1 else not names:
                while path and path != "/":
                    yield tree.root + path
                    path = path.rpartition("/")[0]
                yield tree.root
