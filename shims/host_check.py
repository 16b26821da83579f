"""Whether a host has what minibus makes use of: looked up first (`look`), then judged (`judge`, pure)."""

from __future__ import annotations

import os
import re
import resource
from dataclasses import dataclass
from typing import Final

from bus.messages.host import Finding
from shims import cgroup
from shims.linux.capability import permitted_mask

KERNEL: Final = (5, 9)
"""The latest of the system calls used: close_range(2)."""
NAMESPACES: Final = {"ipc": "IPC_NS", "mnt": "NAMESPACES", "net": "NET_NS", "pid": "PID_NS", "uts": "UTS_NS"}
"""By name in /proc/self/ns, with the kernel's option."""
FILE_SYSTEMS: Final = ("devpts", "proc", "sysfs", "tmpfs")
DESCRIPTORS: Final = 4096
"""Of one process; a container takes two of the warden's."""
_CAP_SYS_ADMIN: Final = 21
_LIBSECCOMP: Final = b"libseccomp.so.2"

_CONTROLLERS: Final = {
    "memory": "limiting the memory of containers",
    "devices": "limiting which devices containers may use",
    "cpu": "limiting the CPUs of containers",
    "pids": "limiting the number of processes of containers",
}


@dataclass(frozen=True)
class Facts:
    """What was found on a host."""

    user: int
    """Effective user id."""
    capabilities: int
    """Mask of the permitted ones."""
    kernel: str
    """Its release."""
    namespaces: frozenset[str]
    file_systems: frozenset[str]
    """Those the kernel has, or can load a module for."""
    controllers: frozenset[str]
    """cgroup controllers in any mounted tree."""
    terminals: bool
    """/dev/ptmx can be opened."""
    seccomp: bool
    """The kernel filters system calls."""
    libseccomp: bool
    descriptors: int
    """That a process may have at most."""


def check() -> tuple[Finding, ...]:
    """Everything that was looked for, what is missing first."""
    return judge(look())


def judge(facts: Facts) -> tuple[Finding, ...]:
    """The findings of these facts, what is missing first."""
    findings = [*_rights(facts), *_kernel(facts), *_control_groups(facts), *_filters(facts)]
    return tuple(sorted(findings, key=lambda finding: (finding.present, not finding.required)))


def _rights(facts: Facts) -> list[Finding]:
    root = facts.user == 0
    return [
        Finding(
            name="root",
            present=root,
            required=True,
            disables="containers, nor anything else that touches the kernel",
            remedy="run `minibus up` as root",
        ),
        Finding(
            name="CAP_SYS_ADMIN",
            present=not root or bool(facts.capabilities >> _CAP_SYS_ADMIN & 1),  # without root one sentence is enough
            required=True,
            disables="namespaces and mounts, and so no containers",
            remedy="run minibus on the host itself, or in a privileged container",
        ),
    ]


def _kernel(facts: Facts) -> list[Finding]:
    needed = ".".join(map(str, KERNEL))
    return [
        Finding(
            name=f"Linux {needed}",
            present=_version(facts.kernel) >= KERNEL,
            required=True,
            disables="launching containers",
            remedy=f"boot a kernel of version {needed} or later; this is {facts.kernel}",
        ),
        *(
            Finding(
                name=f"{name} namespaces",
                present=name in facts.namespaces,
                required=True,
                disables="launching containers",
                remedy=f"boot a kernel with CONFIG_{option}",
            )
            for name, option in NAMESPACES.items()
        ),
        *(
            Finding(
                name=name,
                present=name in facts.file_systems,
                required=True,
                disables="launching containers",
                remedy=f"boot a kernel that has the file system {name}",
            )
            for name in FILE_SYSTEMS
        ),
        Finding(
            name="overlay",
            present="overlay" in facts.file_systems,
            disables="containers that share a file system without changing it, which is `vm config snapshot true`",
            remedy="boot a kernel with CONFIG_OVERLAY_FS, or set `vm config snapshot false`",
        ),
        Finding(
            name="pseudo-terminals",
            present=facts.terminals,
            required=True,
            disables="consoles for containers, and so no containers",
            remedy="mount devpts on /dev/pts and make /dev/ptmx",
        ),
        Finding(
            name=f"{DESCRIPTORS} open files",
            present=facts.descriptors >= DESCRIPTORS,
            disables=f"more than some {max(facts.descriptors // 2 - 50, 1)} containers at a time",
            remedy=f"raise the hard limit of open files, which is {facts.descriptors} (`ulimit -Hn`, LimitNOFILE)",
        ),
    ]


def _control_groups(facts: Facts) -> list[Finding]:
    freezer = Finding(
        name="cgroup freezer",
        present="freezer" in facts.controllers,
        required=True,
        disables="launching containers, which begin frozen, and `vm stop`",
        remedy="mount cgroup version 2 on /sys/fs/cgroup, or version 1 with the freezer",
    )
    limits = [
        Finding(
            name=f"cgroup {name}",
            present=name in facts.controllers,
            disables=what,
            remedy=f"boot a kernel with the cgroup controller {name}, and mount it",
        )
        for name, what in _CONTROLLERS.items()
    ]
    return [freezer, *limits]


def _filters(facts: Facts) -> list[Finding]:
    lost = "keeping containers from regaining capabilities by system calls, which is `vm config seccomp true`"
    return [
        Finding(
            name="seccomp", present=facts.seccomp, disables=lost, remedy="boot a kernel with CONFIG_SECCOMP_FILTER"
        ),
        Finding(name="libseccomp", present=facts.libseccomp, disables=lost, remedy="apt-get install libseccomp2"),
    ]


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d{1,9})\.(\d{1,9})", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def look() -> Facts:
    """Look this host up in the kernel."""
    cgroup.host_layout.cache_clear()  # it may have been mended since
    layout = cgroup.host_layout()
    return Facts(
        user=os.geteuid(),
        capabilities=permitted_mask(),
        kernel=os.uname().release,
        namespaces=frozenset(name for name in NAMESPACES if os.path.exists(f"/proc/self/ns/{name}")),
        file_systems=_file_systems(),
        controllers=frozenset().union(*(tree.controllers for tree in layout.trees)),
        terminals=_has_terminals(),
        seccomp=b"errno" in _read("/proc/sys/kernel/seccomp/actions_avail"),
        libseccomp=_LIBSECCOMP in _read("/etc/ld.so.cache"),
        descriptors=_most_descriptors(),
    )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _file_systems() -> frozenset[str]:
    """From /proc/filesystems, and those whose module a mount would load."""
    known = {line.split()[-1] for line in _read("/proc/filesystems").decode().splitlines() if line.strip()}
    modules = _read(f"/lib/modules/{os.uname().release}/modules.dep")
    wanted = {*FILE_SYSTEMS, "overlay"} - known
    return frozenset(known | {name for name in wanted if re.search(rb"/%s\.ko[.:]" % name.encode(), modules)})


def _has_terminals() -> bool:
    try:
        os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _most_descriptors() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 30 if hard == resource.RLIM_INFINITY else hard
