"""The cgroups of containers, whichever version of cgroups holds each controller on this host.

A controller mounted in a version 1 tree is used there, otherwise in the version 2 tree if that has it; hosts mix the
two freely, so the choice is made per controller. Every container has one directory `<root>/minibus/<tag>/<guest id>` in
each tree used.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from shims.cgroups.guest_share import GuestShare, read_share
from shims.cgroups.hierarchy import CONTROLLERS, Hierarchy, Limits, read_file
from shims.cgroups.lack import Lack, explain, lack, read_kernel_controllers
from shims.cgroups.version_1 import HierarchyV1
from shims.cgroups.version_2 import ASIDE, CORE, HierarchyV2

__all__ = ["Cgroups", "Layout", "Limits", "Tree", "detect", "host_layout", "pids"]

_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing about the tree."""
_LOST_WITHOUT = {
    "memory": "memory is not limited",
    "devices": "devices are not limited by cgroups, so no device nodes work but those made in /dev",
    "cpu": "the number of CPUs is not limited",
    "pids": "the number of processes is not limited",
}


@dataclass(frozen=True, slots=True)
class Tree:
    """A mounted hierarchy and which of `CONTROLLERS` minibus uses there."""

    version: int
    root: str
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where this host has its controllers."""

    trees: tuple[Tree, ...]
    kernel: Mapping[str, bool] = field(default_factory=dict)
    """By controller that the kernel has: whether it is switched on."""
    version_2: str = ""
    """Where the version 2 tree is mounted, used or not."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Controllers that no tree has."""
        return tuple(name for name in CONTROLLERS if not any(name in tree.controllers for tree in self.trees))

    def lack(self, name: str) -> Lack:
        """Why one of `missing` is missing, and what to do about it."""
        return lack(name, self.kernel, self.version_2)


def detect(
    mountinfo: str,
    controllers_of: Callable[[str], Iterable[str]],
    place: Callable[[str], str] = lambda root: root,
) -> Layout:
    """Find the trees in the text of /proc/self/mountinfo.

    `controllers_of` reads the controllers of a version 2 cgroup; `place` says which one below the mount point is used.
    """
    found: dict[str, Tree] = {}
    unclaimed = set(CONTROLLERS)
    second: str | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = right.split(" ")
        if len(fields) < 3:
            continue
        root = _unescape(left.split(" ")[4])
        if fields[0] == "cgroup2" and second is None:
            second = place(root)
        elif fields[0] == "cgroup":
            mine = unclaimed & set(fields[2].split(","))
            if mine:
                found[root] = Tree(1, root, frozenset(mine))
                unclaimed -= mine
    if second is not None and (mine := unclaimed & (set(controllers_of(second)) | CORE)):
        found[second] = Tree(2, second, frozenset(mine))
    return Layout(tuple(found.values()), version_2=second or "")


def _unescape(path: str) -> str:
    """Undo the octal escapes of proc(5)'s mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


@functools.cache
def host_layout() -> Layout:
    """The layout of this host, read once."""

    def controllers_of(root: str) -> list[str]:
        try:
            return read_file(f"{root}/cgroup.controllers").decode().split()
        except OSError:  # hidden by another mount; a launch says so
            return []

    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return replace(detect(file.read(), controllers_of, _place), kernel=read_kernel_controllers())


def _place(root: str) -> str:
    """The top of the tree or, if that is read-only, this process's own cgroup, if that was left writable for it.

    The top is better: a service manager ends all processes below the cgroup of a service when it stops that.
    """
    try:
        if not os.statvfs(root).f_flag & os.ST_RDONLY:
            return root
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            own = root + own_path(file.read())
        return root if os.statvfs(own).f_flag & os.ST_RDONLY else own
    except OSError:
        return root


def own_path(text: str) -> str:
    """The version 2 cgroup in the text of /proc/PID/cgroup; of processes that were moved aside, where they were before.

    Empty for the root, and if there is none.
    """
    path = next((line[3:] for line in text.splitlines() if line.startswith("0::/")), "")
    return path.removesuffix(f"/{ASIDE}").rstrip("/")


class Cgroups:
    """All cgroups of one tag.

    Methods raise `OSError`, naming the file, where the kernel refuses.
    """

    def __init__(self, layout: Layout, tag: str) -> None:
        self._trees: list[Hierarchy] = [
            (HierarchyV1 if tree.version == 1 else HierarchyV2)(tree.root, tree.controllers, tag)
            for tree in layout.trees
        ]
        self._layout = layout
        self._prepared = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What containers go without on this host, a sentence each; all of it is known once `prepare` was called."""
        lost = {name: str(self._layout.lack(name)) for name in self._layout.missing}
        for tree in self._trees:
            lost |= tree.lost
        return tuple(f"{what}: {lost[name]}" for name, what in _LOST_WITHOUT.items() if name in lost)

    @property
    def directories(self) -> tuple[str, ...]:
        """The base directory in each tree, whether it exists or not."""
        return tuple(tree.base for tree in self._trees)

    def prepare(self) -> None:
        """Make the base directories. Raises OSError, also where the host cannot freeze processes at all."""
        if self._prepared:
            return
        if self._with("freezer") is None:
            lack = self._layout.lack("freezer")
            raise OSError(2, f"this host has neither a cgroup freezer nor cgroup version 2; {lack}", "/sys/fs/cgroup")
        share = read_share()
        for tree in self._trees:
            self._prepare(tree, share)
        self._prepared = True

    def _prepare(self, tree: Hierarchy, share: GuestShare) -> None:
        """A tree that cannot be used costs the limits for which it is there; without the freezer there is nothing."""
        try:
            tree.prepare(share)
        except OSError as error:
            reason = explain(error, tree.root)
            if "freezer" in tree.controllers or error.errno in _PASSING:
                raise OSError(error.errno, reason, error.filename) from None
            for name in tuple(tree.controllers):
                tree.lose(name, f"{error.filename}: {reason}")

    def create(self, name: str, limits: Limits) -> tuple[str, ...]:
        """Make a container's cgroups; the files its processes join by. Leaves nothing on failure."""
        try:
            used = [tree for tree in self._trees if tree.controllers]
            for tree in used:
                tree.create(name, limits)
        except OSError:
            self.remove(name)
            raise
        return tuple(tree.procs_file(name) for tree in used)

    def has(self, controller: str) -> bool:
        """Whether containers are held to this controller's limits; known once `prepare` was called."""
        return self._with(controller) is not None

    def _with(self, controller: str) -> Hierarchy | None:
        return next((tree for tree in self._trees if controller in tree.controllers), None)

    def _freezer(self) -> Hierarchy:
        tree = self._with("freezer")
        if tree is None:
            raise KeyError("freezer")
        return tree

    def freeze(self, name: str) -> None:
        """Ask for the freeze; it has happened once `is_frozen` says so."""
        self._freezer().freeze(name)

    def thaw(self, name: str) -> None:
        """Let the processes go on."""
        self._freezer().thaw(name)

    def is_frozen(self, name: str) -> bool:
        """True if every process of the container has stopped."""
        return self._freezer().is_frozen(name)

    def oom_kills(self, name: str) -> int:
        """How many of its processes were killed for memory; 0 where that cannot be known."""
        tree = self._with("memory")
        try:
            return tree.oom_kills(name) if tree else 0
        except OSError:
            return 0

    def pids(self, name: str) -> list[int]:
        """The container's processes, as this PID namespace sees them."""
        tree = self._with("freezer")
        return tree.pids(name) if tree else []

    def kill(self, name: str) -> None:
        """SIGKILL to every process of the container, whichever namespaces it is in."""
        tree = self._with("freezer")
        if tree is not None:
            tree.kill(name)

    def names(self) -> set[str]:
        """Every container that has a cgroup in any tree."""
        return {name for tree in self._trees for name in tree.names()}

    def remove(self, name: str) -> bool:
        """Remove a container's cgroups; False if one is still busy and has to be tried again."""
        return all([tree.remove(name) for tree in self._trees])

    def remove_base(self) -> None:
        """Remove the base directories as far as they are empty; `prepare` makes them again."""
        self._prepared = False
        for tree in self._trees:
            tree.remove_base()


def pids(tag: str, guest_id: int) -> list[int]:
    """The processes of a container, for listings; empty if there is none."""
    return Cgroups(host_layout(), tag).pids(str(guest_id))
