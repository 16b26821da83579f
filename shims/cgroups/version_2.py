"""cgroup version 2: one tree for the controllers that no version 1 tree holds (Documentation/admin-guide/cgroup-v2)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from typing import Final

from shims.cgroups.guest_share import GuestShare
from shims.cgroups.hierarchy import CPU_PERIOD_US, DEVICE_RULES, TOP, Hierarchy, Limits, read_file, write_file
from shims.cgroups.lack import explain
from shims.linux.bpf import attach_device_rules

CORE = frozenset({"freezer", "devices"})
"""No controllers in version 2: freezing belongs to every cgroup, devices are a BPF program attached to one."""
ASIDE: Final = f"{TOP}-others"
"""The cgroup for processes that are in the way."""
_MOVES: Final = 10


class HierarchyV2(Hierarchy):
    """The version 2 tree, with the controllers minibus uses of it."""

    _counts_swap = False

    def settings(self, limits: Limits) -> list[tuple[str, bytes]]:
        """See `Hierarchy.settings`."""
        found = []
        if "memory" in self.controllers:
            found.append(("memory.max", b"%d" % limits.memory_bytes))
            if self._counts_swap:  # as much again, as with Docker: unlimited, a guest could fill the host's
                found.append(("memory.swap.max", b"%d" % limits.memory_bytes))
        if "cpu" in self.controllers:
            found.append(("cpu.max", b"%d %d" % (limits.vcpus * CPU_PERIOD_US, CPU_PERIOD_US)))
        if "pids" in self.controllers:
            found.append(("pids.max", b"%d" % limits.processes))
        return found

    def share_settings(self, share: GuestShare) -> list[tuple[str, bytes]]:
        """See `Hierarchy.share_settings`."""
        found = [("pids.max", b"%d" % share.processes)] if "pids" in self.controllers else []
        if "memory" in self.controllers:
            found.append(("memory.max", b"%d" % share.memory_bytes))
        return found

    def freeze(self, name: str) -> None:
        """See `Hierarchy.freeze`."""
        write_file(f"{self.base}/{name}/cgroup.freeze", b"1")

    def thaw(self, name: str) -> None:
        """See `Hierarchy.thaw`."""
        write_file(f"{self.base}/{name}/cgroup.freeze", b"0")

    def is_frozen(self, name: str) -> bool:
        """See `Hierarchy.is_frozen`."""
        return b"frozen 1" in read_file(f"{self.base}/{name}/cgroup.events").splitlines()

    def oom_kills(self, name: str) -> int:
        """See `Hierarchy.oom_kills` (memory.events)."""
        for line in read_file(f"{self.base}/{name}/memory.events").splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    def kill(self, name: str) -> None:
        """See `Hierarchy.kill`; here no fork escapes it."""
        try:
            write_file(f"{self.directory(name)}/cgroup.kill", b"1")
        except OSError:  # before kernel 5.14
            super().kill(name)

    def _set_up_base(self) -> None:
        limiting = self.controllers - CORE
        if limiting and not move_aside(self.root):
            for name in limiting:
                self.lose(name, explain(OSError(errno.EBUSY, os.strerror(errno.EBUSY)), self.root))
        for path in (self.root, self.top, self.base):
            self._pass_on(path)
        self._counts_swap = os.path.exists(f"{self.base}/memory.swap.max")
        if "devices" in self.controllers:
            try:
                attach_device_rules(self.base, DEVICE_RULES)
            except FileNotFoundError:
                raise
            except OSError as error:
                self.lose("devices", f"the kernel takes no BPF program with the rules: {error.strerror}")

    def _pass_on(self, path: str) -> None:
        """Have the children of `path` get the controllers: they reach a cgroup only if every one above passes them on.

        One by one where they cannot be had together, so that one which cannot is no loss of the others.
        """
        control = f"{path}/cgroup.subtree_control"
        wanted = self.controllers - CORE - {*read_file(control).decode().split()}
        if not wanted or self._enable(control, wanted) is None:
            return
        for name in sorted(wanted):
            problem = self._enable(control, {name})
            if problem is not None:
                self.lose(name, explain(problem, path))

    def _enable(self, control: str, names: Iterable[str]) -> OSError | None:
        """What the kernel said against it. Raises FileNotFoundError if the cgroup has gone."""
        try:
            write_file(control, b" ".join(b"+" + name.encode() for name in sorted(names)))
        except FileNotFoundError as error:  # also said of a controller that the cgroup above does not pass on
            if not os.path.exists(control):
                raise
            return error
        except OSError as error:
            return error
        return None


def move_aside(root: str) -> bool:
    """Move the processes in the cgroup `root` itself into one below it; False if some stay.

    Only the real root may have processes and pass controllers on. What is mounted in a container is another cgroup,
    with all processes of the container in it, and nobody else can move them. The kernel does not always say that they
    are in the way: with cpu and pids alone it takes `root` for the head of a threaded subtree, in which no container
    could be (cgroup-v2, threads).
    """
    if not os.path.exists(f"{root}/cgroup.type"):  # which the real root does not have
        return True
    aside = f"{root}/{ASIDE}"
    for _ in range(_MOVES):  # some are born meanwhile
        pids = read_file(f"{root}/cgroup.procs").split()
        if not pids:
            return True
        with contextlib.suppress(FileExistsError):
            os.mkdir(aside, 0o755)
        for pid in pids:
            with contextlib.suppress(OSError):  # it has ended, or it is "0": one that this PID namespace does not show
                write_file(f"{aside}/cgroup.procs", pid)
    return False
