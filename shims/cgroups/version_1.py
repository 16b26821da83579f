"""cgroup version 1: one tree per controller, or several controllers in one (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os

from shims.cgroups.guest_share import GuestShare
from shims.cgroups.hierarchy import CPU_PERIOD_US, DEVICE_RULES, Hierarchy, Limits, read_file, write_file


class HierarchyV1(Hierarchy):
    """A version 1 tree."""

    _devices_inherited = False
    _counts_swap = False

    def settings(self, limits: Limits) -> list[tuple[str, bytes]]:
        """See `Hierarchy.settings`; the CPU period is left at the kernel's default."""
        found = []
        if "memory" in self.controllers:
            found.append(("memory.limit_in_bytes", b"%d" % limits.memory_bytes))
            if self._counts_swap:  # both together; as much again, as with Docker
                found.append(("memory.memsw.limit_in_bytes", b"%d" % (limits.memory_bytes * 2)))
        if "cpu" in self.controllers:
            found.append(("cpu.cfs_quota_us", b"%d" % (limits.vcpus * CPU_PERIOD_US)))
        if "pids" in self.controllers:
            found.append(("pids.max", b"%d" % limits.processes))
        if "devices" in self.controllers and not self._devices_inherited:
            found.append(("devices.deny", b"a"))
            found += [("devices.allow", rule.encode()) for rule in DEVICE_RULES]
        return found

    def share_settings(self, share: GuestShare) -> list[tuple[str, bytes]]:
        """See `Hierarchy.share_settings`."""
        found = [("pids.max", b"%d" % share.processes)] if "pids" in self.controllers else []
        if "memory" in self.controllers:
            found.append(("memory.limit_in_bytes", b"%d" % share.memory_bytes))
        return found

    def freeze(self, name: str) -> None:
        """See `Hierarchy.freeze`."""
        write_file(f"{self.base}/{name}/freezer.state", b"FROZEN")

    def thaw(self, name: str) -> None:
        """See `Hierarchy.thaw`."""
        write_file(f"{self.base}/{name}/freezer.state", b"THAWED")

    def is_frozen(self, name: str) -> bool:
        """See `Hierarchy.is_frozen`; reading the state also makes the kernel complete it (freezer-subsystem)."""
        return read_file(f"{self.base}/{name}/freezer.state") == b"FROZEN\n"

    def oom_kills(self, name: str) -> int:
        """See `Hierarchy.oom_kills` (memory.oom_control)."""
        for line in read_file(f"{self.base}/{name}/memory.oom_control").splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    def _set_up_base(self) -> None:
        if "memory" in self.controllers:
            for path in (self.top, self.base):
                if read_file(f"{path}/memory.use_hierarchy").strip() != b"1":
                    write_file(f"{path}/memory.use_hierarchy", b"1")
            self._counts_swap = os.path.exists(f"{self.base}/memory.memsw.limit_in_bytes")
        if "devices" in self.controllers:
            self._devices_inherited = self._restrict_devices()

    def _restrict_devices(self) -> bool:
        """Set the device list on the base, from which new cgroups copy theirs: 11 writes once, not per container.

        False if the base has children left that keep it from changing.
        """
        wanted = sorted(DEVICE_RULES)
        if self._device_list() == wanted:
            return True
        try:
            write_file(f"{self.base}/devices.deny", b"a")
        except FileNotFoundError:
            raise
        except OSError:  # EINVAL: there are children
            return False
        for rule in DEVICE_RULES:
            write_file(f"{self.base}/devices.allow", rule.encode())
        return self._device_list() == wanted

    def _device_list(self) -> list[str]:
        return sorted(read_file(f"{self.base}/devices.list").decode().splitlines())
