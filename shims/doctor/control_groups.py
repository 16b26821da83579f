"""The section of cgroups: which controllers there are, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shims import cgroup
from shims.doctor.feature import Feature, Section, State
from shims.doctor.source import Source

COSTS: Final = {
    "freezer": "launching containers, which begin frozen, and `vm stop`",
    "memory": "limiting the memory of containers",
    "devices": "limiting which devices containers may use",
    "cpu": "limiting the CPUs of containers",
    "pids": "limiting the number of processes of containers",
}
_V1: Final = "/sys/fs/cgroup"


@dataclass(frozen=True)
class Place:
    """Where a controller is."""

    version: int
    root: str
    writable: bool


@dataclass(frozen=True)
class CgroupFacts:
    """What was found."""

    places: Mapping[str, Place] = field(default_factory=dict)
    """By controller."""
    compiled: Mapping[str, bool] = field(default_factory=dict)
    """By controller that the kernel has: whether it is not switched off (/proc/cgroups)."""


def look(source: Source) -> CgroupFacts:
    """Look them up."""
    cgroup.host_layout.cache_clear()  # it may have been mended since
    places = {
        name: Place(tree.version, tree.root, not source.is_read_only(tree.root))
        for tree in cgroup.host_layout().trees
        for name in tree.controllers
    }
    lines = [line.split() for line in source.text("/proc/cgroups").splitlines() if not line.startswith("#")]
    return CgroupFacts(places, {words[0]: words[3] != "0" for words in lines if len(words) == 4})


def judge(facts: CgroupFacts) -> list[Feature]:
    """The features of these facts."""
    return [_controller(name, facts) for name in COSTS]


def _controller(name: str, facts: CgroupFacts) -> Feature:
    place = facts.places.get(name)
    ready = place is not None and place.writable
    command, advice = ("", "") if ready else _remedy(name, facts)
    return Feature(
        section=Section.CGROUPS,
        name=f"cgroup {name}",
        state=State.OK if ready else State.MISSING,
        found=_found(place),
        costs=COSTS[name],
        command=command,
        advice=advice,
        required=name == "freezer",
    )


def _found(place: Place | None) -> str:
    if place is None:
        return ""
    return f"version {place.version}, {place.root}{'' if place.writable else ', mounted read-only'}"


def _remedy(name: str, facts: CgroupFacts) -> tuple[str, str]:
    """A command, or what to do where none helps."""
    place = facts.places.get(name)
    if place is not None:
        return f"mount -o remount,rw {place.root}", ""
    if facts.compiled.get(name) is False:
        return "", f"boot without cgroup_disable={name}"
    if name in facts.compiled:
        return f"mkdir -p {_V1}/{name} && mount -t cgroup -o {name} cgroup {_V1}/{name}", ""
    if name == "freezer":
        return "", "mount cgroup version 2 on /sys/fs/cgroup, or version 1 with the freezer"
    return "", f"boot a kernel with the cgroup controller {name}, and mount it"
