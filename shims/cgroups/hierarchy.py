"""One mounted cgroup tree, version 1 or 2, and what minibus keeps in it: `<root>/minibus/<tag>/<name>`.

What differs between the versions is which files are written with which values; `shims.cgroups.version_1` and
`shims.cgroups.version_2` say so, everything else is here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shims.cgroups import spare
from shims.cgroups.guest_share import GuestShare

TOP: Final = "minibus"
CPU_PERIOD_US: Final = 100_000
"""The kernel's default: short enough that a container held to its quota does not stall for whole seconds."""

CONTROLLERS: Final = ("freezer", "memory", "devices", "cpu", "pids")

_MKDIR_ATTEMPTS: Final = 5

DEVICE_RULES: Final = (
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c *:* m",
    "b *:* m",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
)
"""null zero full tty random urandom; any node may be made; ptys, ptmx, tun (cgroup-v1 devices).

Not 5:1, 4:0 and 4:1, although minimega has them: they are the console and the terminals of the *host*, on which a guest
could read what is typed. A container's /dev/console is a pty.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one container may use."""

    memory_bytes: int
    vcpus: int
    processes: int
    """Threads count as well."""


def write_file(path: str, value: bytes) -> None:
    """One write(2) of `value`; an `OSError` names the path."""
    try:
        with spare.opened(path, os.O_WRONLY) as fd:
            os.write(fd, value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def read_file(path: str) -> bytes:
    """The content of a small kernel file."""
    with spare.opened(path, os.O_RDONLY) as fd:
        return os.read(fd, 65536)


class Hierarchy(ABC):
    """A mounted tree that carries `controllers`, seen from one tag."""

    def __init__(self, root: str, controllers: Iterable[str], tag: str) -> None:
        self.root = root
        self.controllers = frozenset(controllers)
        """Those that can be used, as far as is known: `prepare` finds out."""
        self.lost: dict[str, str] = {}
        """Those that are there and cannot be used, with the reason and what to do."""
        self._all = self.controllers
        self.top = f"{root}/{TOP}"
        self.base = f"{self.top}/{tag}"

    def directory(self, name: str) -> str:
        """The cgroup of one container."""
        return f"{self.base}/{name}"

    def lose(self, name: str, reason: str) -> None:
        """Do without a controller from here on."""
        self.controllers -= {name}
        self.lost[name] = reason

    def prepare(self, share: GuestShare) -> None:
        """Make the directories above the containers and set what holds for all of them; existing ones are used.

        A controller that cannot be used is in `lost` afterwards.
        """
        self.controllers, self.lost = self._all, {}
        for _ in range(_MKDIR_ATTEMPTS):
            for path in (self.top, self.base):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o755)
            try:
                self._set_up_base()
                self._bound_all(share)
            except FileNotFoundError:  # another base directory's warden removed the empty top between the two steps
                continue
            return
        raise FileNotFoundError(2, os.strerror(2), self.base)

    def _bound_all(self, share: GuestShare) -> None:
        """On the top, which all base directories of this host have in common."""
        for file, value in self.share_settings(share):
            path = f"{self.top}/{file}"
            if read_file(path).strip() != value:
                try:
                    write_file(path, value)
                except OSError as error:
                    if error.errno != errno.EBUSY:  # guests that run already have more, and there is nothing to reclaim
                        raise

    def create(self, name: str, limits: Limits) -> None:
        """Make one container's cgroup with its limits. Leaves nothing on failure."""
        path = self.directory(name)
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:  # left by somebody who was killed: a used one may hold processes or old counts
            if not rmdir(path):
                raise OSError(errno.EBUSY, "still in use by an earlier container", path) from None
            os.mkdir(path, 0o755)
        try:
            for file, value in self.settings(limits):
                write_file(f"{path}/{file}", value)
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(path)
            raise

    def procs_file(self, name: str) -> str:
        """The file that takes a pid into the cgroup."""
        return f"{self.directory(name)}/cgroup.procs"

    def pids(self, name: str) -> list[int]:
        """Processes in the cgroup, as this PID namespace sees them; empty if there is no such cgroup."""
        try:
            with open(self.procs_file(name), encoding="ascii") as file:
                return [int(line) for line in file]
        except (FileNotFoundError, OSError):
            return []

    def kill(self, name: str) -> None:
        """SIGKILL to every process in the cgroup; those that are frozen die once they are thawed."""
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def names(self) -> list[str]:
        """Cgroups below the base."""
        try:
            with os.scandir(self.base) as entries:
                return [entry.name for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> bool:
        """Remove one container's cgroup; False if it is still busy."""
        return rmdir(self.directory(name))

    def remove_base(self) -> None:
        """Remove the directories above the containers, as far as they are empty."""
        if rmdir(self.base):
            rmdir(self.top)

    @abstractmethod
    def settings(self, limits: Limits) -> list[tuple[str, bytes]]:
        """(file, value) pairs to write into a new cgroup."""

    @abstractmethod
    def share_settings(self, share: GuestShare) -> list[tuple[str, bytes]]:
        """(file, value) pairs that bound all guests of this host together."""

    @abstractmethod
    def freeze(self, name: str) -> None:
        """Ask for the freeze; it has happened once `is_frozen` says so."""

    @abstractmethod
    def thaw(self, name: str) -> None:
        """Let the processes go on."""

    @abstractmethod
    def is_frozen(self, name: str) -> bool:
        """True if every process in the cgroup has stopped."""

    @abstractmethod
    def oom_kills(self, name: str) -> int:
        """How many processes of the cgroup the kernel has killed for memory."""

    @abstractmethod
    def _set_up_base(self) -> None:
        """Write what holds for all containers of the tag."""


def rmdir(path: str) -> bool:
    """Remove a cgroup; False if processes or other cgroups are still in it."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:  # EBUSY: processes or children left; ENOTEMPTY
        return False
    return True
