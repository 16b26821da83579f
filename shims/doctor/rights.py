"""The section of permissions: what the process that becomes the node may do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, NamedTuple

from shims.doctor.feature import Feature, Section, State, is_present
from shims.linux.capability import permitted_mask


class Wanted(NamedTuple):
    """A capability (capabilities(7))."""

    number: int
    costs: str
    required: bool = False
    minor: bool = False


ROOT: Final = "root"
CAPABILITIES: Final = {
    "CAP_SYS_ADMIN": Wanted(21, "namespaces and mounts, and so no containers", required=True),
    "CAP_SETPCAP": Wanted(8, "taking capabilities away from containers, and so no containers", required=True),
    "CAP_MKNOD": Wanted(27, "device nodes in containers, and so no containers", required=True),
    "CAP_DAC_OVERRIDE": Wanted(1, "file systems and volumes that belong to other users"),
    "CAP_NET_ADMIN": Wanted(12, "the interface lo in containers"),
    "CAP_SYS_RESOURCE": Wanted(24, "raising hard limits, of open files for example", minor=True),
}


@dataclass(frozen=True)
class RightsFacts:
    """What was found."""

    user: int
    """Effective user id."""
    capabilities: int
    """Mask of the permitted ones."""


def look() -> RightsFacts:
    """Look them up."""
    return RightsFacts(os.geteuid(), permitted_mask())


def judge(facts: RightsFacts) -> list[Feature]:
    """The features of these facts; without root one sentence is enough."""
    is_root = facts.user == 0
    root = Feature(
        section=Section.PERMISSIONS,
        name=ROOT,
        state=is_present(is_root),
        found=f"user {facts.user}",
        costs="containers, nor anything else that touches the kernel",
        advice="run `minibus up` as root",
        required=True,
    )
    return [root, *(_capability(name, wanted, facts) for name, wanted in CAPABILITIES.items() if is_root)]


def _capability(name: str, wanted: Wanted, facts: RightsFacts) -> Feature:
    return Feature(
        section=Section.PERMISSIONS,
        name=name,
        state=State.OK if facts.capabilities >> wanted.number & 1 else State.MISSING,
        costs=wanted.costs,
        advice="run minibus on the host itself, or in a privileged container",
        required=wanted.required,
        minor=wanted.minor,
    )
