"""The section of cgroups: which controllers there are, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shims.cgroups import cgroup
from shims.cgroups.lack import Lack
from shims.cgroups.version_2 import CORE
from shims.doctor.feature import Feature, Section, State
from shims.doctor.source import Source

COSTS: Final = {
    "freezer": "launching containers, which begin frozen, and `vm stop`",
    "memory": "limiting the memory of containers",
    "devices": "limiting which devices containers may use",
    "cpu": "limiting the CPUs of containers",
    "pids": "limiting the number of processes of containers",
}


@dataclass(frozen=True)
class Place:
    """Where a controller is."""

    version: int
    root: str
    read_only: bool = False
    occupied: bool = False
    """Version 2: the controller cannot be passed on yet, because processes are in the root of the tree itself."""


@dataclass(frozen=True)
class CgroupFacts:
    """What was found, by controller."""

    places: Mapping[str, Place] = field(default_factory=dict)
    lacks: Mapping[str, Lack] = field(default_factory=dict)


def look(source: Source) -> CgroupFacts:
    """Look them up."""
    cgroup.host_layout.cache_clear()  # it may have been mended since
    layout = cgroup.host_layout()
    places = {name: _place(source, tree, name) for tree in layout.trees for name in tree.controllers}
    return CgroupFacts(places, {name: layout.lack(name) for name in layout.missing})


def judge(facts: CgroupFacts) -> list[Feature]:
    """The features of these facts."""
    return [_controller(name, facts.places.get(name), facts.lacks.get(name)) for name in COSTS]


def _place(source: Source, tree: cgroup.Tree, name: str) -> Place:
    occupied = (
        tree.version == 2
        and name not in CORE
        and name not in source.text(f"{tree.root}/cgroup.subtree_control").split()
        and source.exists(f"{tree.root}/cgroup.type")  # the root of all, where processes are allowed, has none
        and bool(source.text(f"{tree.root}/cgroup.procs"))
    )
    return Place(tree.version, tree.root, source.is_read_only(tree.root), occupied)


def _controller(name: str, place: Place | None, lack: Lack | None) -> Feature:
    found, command, advice = "", "", ""
    if place is None:
        found, command, advice = lack or Lack("it was not found", advice=f"mount the cgroup controller {name}")
    else:
        found = f"version {place.version}, {place.root}"
        if place.read_only:
            found, command = f"{found}, mounted read-only", f"mount -o remount,rw {place.root}"
        elif place.occupied:
            found = f"{found}; a launch moves the processes in it aside, as the kernel wants"
    return Feature(
        section=Section.CGROUPS,
        name=f"cgroup {name}",
        state=State.MISSING if command or advice else State.OK,
        found=found,
        costs=COSTS[name],
        command=command,
        advice=advice,
        required=name == "freezer",
    )
