"""Why a host is without a cgroup controller, or cannot use one, and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final, NamedTuple

_V1: Final = "/sys/fs/cgroup"


class Lack(NamedTuple):
    """One missing controller. Of `command` and `advice` one is empty."""

    why: str
    command: str = ""
    """For a shell; mends it."""
    advice: str = ""
    """What to do where no command helps."""

    def __str__(self) -> str:
        """Half a sentence."""
        return f"{self.why}; {self.advice or f'run `{self.command}`'}"


def kernel_controllers(text: str) -> dict[str, bool]:
    """The text of /proc/cgroups: whether each controller that the kernel has is switched on (cgroups(7))."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {words[0]: words[3] != "0" for words in lines if len(words) == 4}


def read_kernel_controllers() -> dict[str, bool]:
    """Of this host; empty where that cannot be read."""
    try:
        with open("/proc/cgroups", encoding="ascii") as file:
            return kernel_controllers(file.read())
    except OSError:
        return {}


def lack(name: str, kernel: Mapping[str, bool], version_2: str) -> Lack:
    """Why no mounted tree has `name`; `version_2` is where the version 2 tree is mounted, empty if it is not."""
    if name == "freezer" or (name == "devices" and not version_2 and name not in kernel):
        return Lack("cgroup version 2 is not mounted", f"mount -t cgroup2 none {_V1}")
    if name not in kernel:
        return Lack(f"this kernel has no cgroup controller {name}", advice="boot a kernel that has it")
    if not kernel[name]:
        return Lack(f"cgroup_disable={name} switches this controller off", advice="boot without it")
    if version_2:
        what = f"the cgroup above {version_2} does not pass the controller {name} on"
        return Lack(what, advice=f"write +{name} to its cgroup.subtree_control, from outside")
    return Lack(
        f"the cgroup controller {name} is mounted nowhere",
        f"mkdir -p {_V1}/{name} && mount -t cgroup -o {name} cgroup {_V1}/{name}",
    )


_ADVICE: Final = {
    errno.ENOENT: "unmount what hides the cgroups mounted on {root}",
    errno.EROFS: "run `mount -o remount,rw {root}`, or run minibus on the host itself or in a privileged container",
    errno.EACCES: "run minibus as root on the host itself, or in a privileged container",
    errno.EPERM: "run minibus as root on the host itself, or in a privileged container",
    errno.EAGAIN: "raise cgroup.max.descendants and cgroup.max.depth of the cgroups above {root}",
    errno.ENOSPC: "too many cgroups exist already: remove those that nobody uses",
    errno.EBUSY: "move the processes in {root} itself into a cgroup below it",
}


def explain(error: OSError, root: str) -> str:
    """What the kernel said about a file of the tree mounted at `root`, and what to do where that is known."""
    advice = _ADVICE.get(error.errno or 0, "")
    said = error.strerror or str(error)
    return f"{said}; {advice.format(root=root)}" if advice else said
