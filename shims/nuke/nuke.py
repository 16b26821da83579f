"""Giving up on a base directory: everything of minibus on it ends and goes, except the file area and the logs.

Needs nothing that runs and believes no journal. It looks in the kernel for what is this base directory's own: the
holders of its locks, the control groups and jobs of its tag, mounts of its tag and below its instance directories. It
may be interrupted and repeated, and it follows no symbolic link.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from bus.errors import DeniedError, InvalidError
from bus.lock import FileLock
from bus.paths import Paths, base_tag
from shims.cgroups.cgroup import Cgroups, host_layout
from shims.cgroups.hierarchy import TOP, rmdir
from shims.files import instance
from shims.linux import mountinfo
from shims.linux.libc import LIBC
from shims.linux.mount import MNT_DETACH, UMOUNT_NOFOLLOW
from shims.network import clearing, dnsmasq, guest_netns
from shims.network.base import FabricError
from shims.nuke import leftovers, own_processes
from shims.nuke.own_processes import file_type
from shims.programs import process_tree

MARKS: Final = ("run/node.lock", "run/warden.lock", "state/warden", "state/vm", "state/namespace", "bus/requests")
"""One of these makes a directory a base directory."""
KEPT: Final = ("files", "log")
OURS: Final = ("minimega", "minimega.pid", "vlans", "bridges", "taps", "bus", "state", "run")
"""What goes beside the instance directories; the locks go last."""
TUNED: Final = "tuned.json"
"""What `up --tune-host` raised. It is the host's, and other base directories may need it."""
NODE: Final = "node.lock"
NUKE: Final = "nuke.lock"
PROMPT: Final = "minimega.lock"
"""Held by the process with the prompt, which sees its node end and then restores the terminal."""
LEAVE_S: Final = 2.0
GONE_S: Final = 10.0
POLL_S: Final = 0.01


class Nuke:
    """One run over one base directory."""

    def __init__(self, base: Path) -> None:
        """Raises InvalidError if this is no base directory, DeniedError if it is not this user's."""
        self.base = checked(base)
        self.tag = base_tag(self.base)
        self.done: list[str] = []
        """What was ended and removed, in words."""
        self.problems: list[str] = []
        self._cgroups = Cgroups(host_layout(), self.tag)

    def run(self) -> None:
        """Do all of it; what does not succeed is in `problems`, and the rest is done all the same.

        Raises ConflictError if the same is going on already, or somebody starts minibus again and again.
        """
        locks = [self._lock(NUKE, "minibus nuke")]
        self._end_own_processes()
        locks.append(self._lock(NODE, "minibus"))
        self._end_guests()
        self._unmount()
        self._remove_cgroups()
        self._remove_networks()
        self._remove_names()
        self._remove_files()
        for lock in filter(None, locks):
            lock.release()

    def left(self) -> list[str]:
        """What is still there of this base directory, looked up in the kernel."""
        found = [*leftovers.processes(self.base, self.tag), *leftovers.cgroups(self.tag)]
        found += [f"process {pid} (a background job)" for pid in self._jobs()]
        for name, pids in own_processes.lock_holders(Paths(self.base).run).items():
            found += [f"process {pid} (holds {name})" for pid in pids]
        found += [*leftovers.networks(self.tag), *leftovers.names(self.tag)]
        return [*found, *(f"mount {point}" for point in self._own_mounts()), *leftovers.files(self.base)]

    # --- processes

    def _end_own_processes(self) -> None:
        """Node first, or it would start the others again."""
        holders = own_processes.lock_holders(Paths(self.base).run)
        helpers = self._helpers(pid for name, pids in holders.items() if name not in (NODE, PROMPT) for pid in pids)
        self._end_holders(lambda name: name == NODE)
        self._end_holders(lambda name: name not in (PROMPT, NUKE))
        _wait(lambda: not own_processes.lock_holders(Paths(self.base).run).get(PROMPT), LEAVE_S)
        self._end_holders(lambda name: name != NUKE)
        if any(pids for name, pids in holders.items() if name != NUKE):
            self.done.append("minibus ended")
        self._end_jobs()
        for pid, ticks in helpers.items():
            own_processes.end_started(pid, ticks)

    def _helpers(self, owners: Iterable[int]) -> dict[int, int]:
        """The children of its processes, which hold no lock of their own. The node's may be anybody's orphans."""
        found = {pid: ticks for owner in owners for pid, ticks in own_processes.children(owner).items()}
        found.pop(os.getpid(), None)
        return found

    def _end_holders(self, is_meant: Callable[[str], bool]) -> None:
        """End whoever holds such a lock, until nobody does."""
        run = Paths(self.base).run
        deadline = time.monotonic() + GONE_S
        while found := {
            pid for name, pids in own_processes.lock_holders(run).items() if is_meant(name) for pid in pids
        }:
            if time.monotonic() > deadline:
                self.problems.append(f"processes of minibus do not end: {', '.join(map(str, sorted(found)))}")
                return
            for pid in found:
                own_processes.end_lock_holder(pid, run)
            time.sleep(POLL_S)

    def _end_jobs(self) -> None:
        """Programs that users have started in the background, all that these have started, and servers for guests."""
        ended: set[int] = set()
        deadline = time.monotonic() + GONE_S
        while found := self._jobs():
            ended |= {pid for pid in found if own_processes.kill(pid, lambda: True)}
            if time.monotonic() > deadline:
                self.problems.append(f"jobs do not end: {', '.join(map(str, found))}")
                break
            time.sleep(POLL_S)
        self._note(len(ended), "process of jobs and servers killed", "processes of jobs and servers killed")

    def _jobs(self) -> list[int]:
        return [pid for pid in process_tree.marked(f"{self.tag}-") if pid != os.getpid()]

    def _lock(self, name: str, what: str) -> FileLock | None:
        """Take a lock, so that nobody starts the same here meanwhile; raises ConflictError if somebody has it."""
        run = Paths(self.base).run
        return FileLock(run / name, what) if file_type(run) == stat.S_IFDIR else None

    def _end_guests(self) -> None:
        """Freeze first, so that nothing forks away; what is frozen dies once it is thawed."""
        for name in self._cgroups.names():
            with contextlib.suppress(OSError, KeyError):
                self._cgroups.freeze(name)
        killed: set[int] = set()
        deadline = time.monotonic() + GONE_S
        while found := [(pid, path) for path in self._directories() for pid in own_processes.members(path)]:
            killed |= {pid for pid, path in found if own_processes.end_member(pid, path)}
            for name in self._cgroups.names():
                with contextlib.suppress(OSError, KeyError):
                    self._cgroups.thaw(name)
            if time.monotonic() > deadline:
                self.problems.append(f"processes do not end: {', '.join(sorted({str(pid) for pid, _ in found}))}")
                break
            time.sleep(POLL_S)
        self._note(len(killed), "process of guests killed", "processes of guests killed")

    def _directories(self) -> list[str]:
        """All control groups of the tag, the innermost first; guests may have made some."""
        return [path for base in self._cgroups.directories for path, _, _ in os.walk(base, topdown=False)]

    # --- what they leave

    def _unmount(self) -> None:
        """In this mount namespace; those of guests have gone with their processes."""
        points = self._own_mounts()
        for point in reversed(points):
            LIBC.umount2(os.fsencode(point), MNT_DETACH | UMOUNT_NOFOLLOW)  # whether it worked is looked up
        left = self._own_mounts()
        self.problems += [f"{point} cannot be unmounted" for point in left]
        self._note(len(points) - len(left), "mount removed", "mounts removed")

    def _own_mounts(self) -> list[str]:
        return own_mounts(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"), self.base, self.tag)

    def _remove_cgroups(self) -> None:
        paths = self._directories()
        for path in paths:
            if not _remove_cgroup(path):
                self.problems.append(f"cgroup {path} is still in use")
        for base in self._cgroups.directories:
            rmdir(os.path.dirname(base))  # stays while another base directory uses it
        self._note(len(paths) - len(self._directories()), "cgroup removed", "cgroups removed")

    def _remove_networks(self) -> None:
        """After the guests: their ends go with them."""
        try:
            found = leftovers.networks(self.tag)
            clearing.clear(self.tag)
        except (OSError, FabricError) as error:
            self.problems.append(f"cannot remove the networks: {error}")
            return
        if found:
            self.done.append("networks removed")

    def _remove_names(self) -> None:
        """Of guests' network namespaces."""
        try:
            count = guest_netns.remove_all(self.tag)
        except OSError as error:
            self.problems.append(f"cannot remove the names of network namespaces: {error.strerror}")
            return
        self._note(count, "name of a network namespace removed", "names of network namespaces removed")

    def _remove_files(self) -> None:
        mounted = [Path(point) for point in self._own_mounts()]
        numbered = [self.base / name for name in sorted(os.listdir(self.base)) if is_id(name)]
        free = [path for path in numbered if not any(point.is_relative_to(path) for point in mounted)]
        self._note(sum(map(self._remove, free)), "instance directory removed", "instance directories removed")
        if not self.problems:  # otherwise it must be known next time what this was
            servers = sorted(path.name for path in self.base.glob(f"{dnsmasq.PREFIX}*"))
            self.done += [f"{name} removed" for name in (*servers, *OURS) if self._remove(self.base / name)]
        if file_type(self.base / TUNED):
            self.done.append("the limits of this host stay raised; `minibus doctor --untune` puts them back")

    def _remove(self, path: Path) -> bool:
        """Remove what is there: of a symbolic link the link, never what it names."""
        kind = file_type(path)
        try:
            if kind == stat.S_IFDIR:
                instance.remove(path)
            elif kind:
                path.unlink(missing_ok=True)
        except OSError as error:
            self.problems.append(f"cannot remove {path}: {error.strerror}")
            return False
        return bool(kind)

    def _note(self, count: int, one: str, many: str) -> None:
        if count:
            self.done.append(f"{count} {one if count == 1 else many}")


def checked(base: Path) -> Path:
    """The base directory without symbolic links; raises InvalidError or DeniedError if it must not be touched."""
    if os.geteuid() != 0:
        raise DeniedError("minibus nuke needs root: guests and cgroups are root's")
    base = base.absolute()
    resolved = base.resolve()
    if not resolved.is_dir():
        raise InvalidError(f"there is no directory {base}")
    if not (is_base(resolved) or leftovers.cgroups(base_tag(resolved))):
        raise InvalidError(f"{base} is no base directory of minibus: nothing was touched")
    owner = resolved.stat().st_uid
    if owner != os.geteuid():
        raise DeniedError(f"{base} belongs to user {owner}: nothing was touched")
    return resolved


def is_base(directory: Path) -> bool:
    """Whether minibus has been at work there, or its leftovers have been removed already."""
    for mark in MARKS:
        if file_type((directory / mark).parent) == stat.S_IFDIR and file_type(directory / mark):
            return True
    was_base = all(file_type(directory / name) == stat.S_IFDIR for name in KEPT)
    return was_base and not any(name in OURS or is_id(name) for name in os.listdir(directory))


def own_mounts(text: str, base: Path, tag: str) -> list[str]:
    """The mount points in the text of a mountinfo file that guests of the base directory have, in order of mounting.

    A disk mounted as base directory or as file area is its user's.
    """
    found = []
    for mounted in mountinfo.read(text):
        path = Path(mounted.point)
        below = path.relative_to(base).parts if path.is_relative_to(base) else ()
        if mounted.source.startswith(f"{TOP}_{tag}_") or (below and is_id(below[0])):
            found.append(mounted.point)
    return found


def is_id(name: str) -> bool:
    """Whether an instance directory may be called so."""
    return name.isascii() and name.isdecimal()


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _remove_cgroup(path: str) -> bool:
    """The kernel may take a moment to let go of one whose processes have ended."""
    return _wait(lambda: rmdir(path), 0.0 if own_processes.members(path) else GONE_S)
