"""A sound host, and a directory that holds the files of a made-up one."""

from __future__ import annotations

from pathlib import Path

from shims.doctor.base import BaseFacts
from shims.doctor.control_groups import COSTS, CgroupFacts, Place
from shims.doctor.feature import Feature, State
from shims.doctor.figures import SYSCTLS, Figures
from shims.doctor.kernel import FILE_SYSTEMS, NAMESPACES, KernelFacts
from shims.doctor.rights import RightsFacts
from shims.doctor.source import Source

KERNEL = KernelFacts(
    release="6.1.0-13-amd64",
    namespaces=frozenset({*NAMESPACES, "user"}),
    file_systems=frozenset({*FILE_SYSTEMS, "overlay", "fuse"}),
    calls=frozenset({"clone3", "pidfd_open"}),
    terminals=True,
    fuse=True,
    filters=True,
    kvm_version=12,
)
CGROUPS = CgroupFacts({name: Place(2, "/sys/fs/cgroup") for name in COSTS})
RIGHTS = RightsFacts(user=0, capabilities=(1 << 41) - 1)
BASE = BaseFacts("/srv/mb", "/srv/mb", "ext4", "/srv", frozenset({"rw", "relatime"}), is_place=True, writable=True)
FIGURES = Figures(
    sysctls={name: 1 << 24 for name in SYSCTLS} | {"kernel.pty.reserve": 1024, "kernel.pty.nr": 10},
    descriptors=1 << 20,
    memory_bytes=1 << 40,
    inodes=1 << 30,
    disk_bytes=1 << 40,
)


def not_ok(features: list[Feature]) -> list[tuple[str, State]]:
    """Name and state of those that are not in order."""
    return [(feature.name, feature.state) for feature in features if feature.state is not State.OK]


def machine(root: Path, files: dict[str, str]) -> Source:
    """A machine that has these files only."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Source(str(root))
