"""cgroup version 2: one tree for the controllers that no version 1 tree holds (Documentation/admin-guide/cgroup-v2)."""

from __future__ import annotations

from shims.cgroup_hierarchy import CPU_PERIOD_US, DEVICE_RULES, Hierarchy, Limits, read_file, write_file
from shims.guest_share import GuestShare
from shims.linux.bpf import attach_device_rules

CORE = frozenset({"freezer", "devices"})
"""No controllers in version 2: freezing belongs to every cgroup, devices are a BPF program attached to one."""


class HierarchyV2(Hierarchy):
    """The version 2 tree, with the controllers minibus uses of it."""

    def settings(self, limits: Limits) -> list[tuple[str, bytes]]:
        """See `Hierarchy.settings`."""
        found = []
        if "memory" in self.controllers:
            found.append(("memory.max", b"%d" % limits.memory_bytes))
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

    def _set_up_base(self) -> None:
        # A controller reaches a cgroup only if every one above it passes it on.
        wanted = b" ".join(b"+" + name.encode() for name in sorted(self.controllers - CORE))
        if wanted:
            for path in (self.root, self.top, self.base):
                write_file(f"{path}/cgroup.subtree_control", wanted)
        if "devices" in self.controllers:
            attach_device_rules(self.base, DEVICE_RULES)
