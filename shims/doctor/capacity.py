"""How many guests fit: what each of them takes of every resource that can run out, and what there is of it."""

from __future__ import annotations

from typing import Final

import msgspec

from shims.doctor.figures import MEMORY_CGROUPS, Figures

MIB: Final = 1024 * 1024
EXPECTED: Final = 1000
"""Guests that a host should have room for, unless told otherwise."""

# What one running container takes. tests/system/test_doctor_figures.py measures all of it.
NODE_FILES: Final = 1
"""The copy of its console."""
WARDEN_FILES: Final = 2
CONTAINER_FILES: Final = 4
"""Its console, what that has said, and the two listeners."""
CC_FILES: Final = 2
"""The socket that its agent finds, and the agent's connection."""
FILES: Final = 12
"""Open on the whole host, its init's and its agent's included; copies of a descriptor count once."""
TERMINALS: Final = 1
TASKS: Final = 1
"""Its init."""
IDLE_MIB: Final = 1.5
"""With an init of busybox, and what the actors remember of it; most of it is the kernel's. Not measured by that test,
because other programs come and go, but by `just bench guest_memory`.
"""
INTERFACE_MIB: Final = 0.074
"""The kernel's, for both ends; the same each time 1,000 were made on Linux 6.18."""
INODES: Final = 14
DISK_MIB: Final = 1 / 16

_SHARE: Final = "it is a share of what the host has: add to that"

NAMESPACES: Final = tuple(f"user.max_{kind}_namespaces" for kind in ("ipc", "mnt", "net", "pid", "uts"))
"""Of each kind it has one."""

OWN_FILES: Final = 64
"""Descriptors that a process of minibus needs for itself."""


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """What is assumed of each guest."""

    memory_mib: int = 0
    """That it uses; 0 for what an idle container takes."""
    interfaces: int = 0
    """Each with one neighbour that it talks to."""
    processes: int = TASKS
    watchers: int = 0
    """Programs inside that watch files: systemd, udevd, `tail -f`."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Something that guests use up."""

    name: str
    free: int
    per_guest: float
    fits: int
    """Guests."""
    command: str = ""
    """Makes room for as many as are expected, where that is to be had by a command."""
    advice: str = ""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How many guests fit."""

    guest: Guest
    expected: int
    fits: int
    """0 if nothing is known."""
    resources: tuple[Resource, ...]
    """What is hit first comes first."""


def capacity(figures: Figures, guest: Guest, expected: int = EXPECTED) -> Capacity:
    """Work it out."""
    resources = sorted(_resources(figures, guest, expected), key=lambda each: each.fits)
    return Capacity(
        guest=guest, expected=expected, fits=resources[0].fits if resources else 0, resources=tuple(resources)
    )


def _resources(figures: Figures, guest: Guest, expected: int) -> list[Resource]:
    table = _Table(figures, expected)
    _add_files(table, figures, expected)
    reserve = figures.sysctl("kernel.pty.reserve") or 0
    table.sysctl("pseudo-terminals", "kernel.pty.max", (figures.sysctl("kernel.pty.nr") or 0) + reserve, TERMINALS)
    table.sysctl("process ids", "kernel.pid_max", figures.tasks, guest.processes)
    table.sysctl("threads", "kernel.threads-max", figures.tasks, guest.processes)
    table.add("processes in the cgroup of all guests", figures.guests_tasks, guest.processes, advice=_SHARE)
    memory = (guest.memory_mib or IDLE_MIB) + guest.interfaces * INTERFACE_MIB
    table.add("memory (MiB)", _mib(figures.memory_bytes), memory, advice="add memory, or launch guests that use less")
    table.add("memory in the cgroup of all guests (MiB)", _mib(figures.guests_memory_bytes), memory, advice=_SHARE)
    free = MEMORY_CGROUPS - figures.memory_cgroups
    table.add("memory cgroups", free, 1, advice="nothing: the kernel has no more of them")
    table.sysctl("namespaces", min(NAMESPACES, key=lambda name: figures.sysctl(name) or 0), 0, 1)
    for version in ("ipv4", "ipv6"):
        in_use = figures.neighbours.get(version, 0)
        table.sysctl(f"{version} neighbours", f"net.{version}.neigh.default.gc_thresh3", in_use, guest.interfaces)
    table.sysctl("inotify instances", "fs.inotify.max_user_instances", 0, guest.watchers)
    table.add("inodes of the base directory", figures.inodes, INODES, advice="choose another base directory")
    table.add("disk of the base directory (MiB)", _mib(figures.disk_bytes), DISK_MIB, advice="make room on it")
    return table.rows


def _mib(number_bytes: int | None) -> int | None:
    return None if number_bytes is None else number_bytes // MIB


def _add_files(table: _Table, figures: Figures, expected: int) -> None:
    """A process can have at most fs.nr_open, which only matters once its own limit is as high."""
    processes = {"node": NODE_FILES, "warden": WARDEN_FILES, "container": CONTAINER_FILES, "cc": CC_FILES}
    for process, each in processes.items():
        free = None if figures.descriptors is None else figures.descriptors - OWN_FILES
        needed = OWN_FILES + each * expected
        command = f"ulimit -n {_round(needed)}"
        table.add(f"open files of the process {process}", free, each, command=command)
    table.sysctl("open files of the host", "fs.file-max", figures.files, FILES)


class _Table:
    def __init__(self, figures: Figures, expected: int) -> None:
        self.rows: list[Resource] = []
        self._figures = figures
        self._expected = expected

    def sysctl(self, what: str, name: str, in_use: int, per_guest: float) -> None:
        limit = self._figures.sysctl(name)
        needed = _round(in_use + per_guest * self._expected)
        free = None if limit is None else limit - in_use
        self.add(f"{what} ({name})", free, per_guest, command=f"sysctl -w {name}={needed}")

    def add(self, name: str, free: int | None, per_guest: float, *, command: str = "", advice: str = "") -> None:
        """A row, unless there is no limit or guests take nothing of it."""
        if free is None or not per_guest:
            return
        fits = int(max(free, 0) // per_guest)
        enough = fits >= self._expected
        self.rows.append(
            Resource(
                name=name,
                free=max(free, 0),
                per_guest=per_guest,
                fits=fits,
                command="" if enough else command,
                advice="" if enough else advice,
            )
        )


def _round(number: float) -> int:
    """The next power of two with some room."""
    return 1 << int(number * 1.2).bit_length()
