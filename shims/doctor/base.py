"""The section of the base directory: the file system that it is on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shims.doctor.feature import Feature, Section, State, is_present, shown
from shims.linux import mountinfo

OVERLAY: Final = "overlay on it"
_IN_PLACE: Final = "from directories below it, with `vm config snapshot false`"
HARMFUL: Final = {
    "noexec": f"starting containers {_IN_PLACE}",
    "nodev": f"device nodes of containers {_IN_PLACE}",
    "nosuid": f"set-user-ID programs of containers {_IN_PLACE}",
}
"""Options of mount(8), and what they prevent. An overlay is a mount of its own and has none of them."""


@dataclass(frozen=True)
class BaseFacts:
    """What was found."""

    path: str
    existing: str
    """It, or the nearest directory above it that exists."""
    kind: str
    """Of the file system."""
    point: str
    """Where that is mounted."""
    options: frozenset[str]
    """Of the mount."""
    is_place: bool
    """What exists of the path are directories."""
    writable: bool
    """By root."""


def existing(path: str) -> str:
    """The directory, or the nearest one above it that exists."""
    path = os.path.realpath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def look(path: str, mounts: str) -> BaseFacts:
    """Look it up; `mounts` is the text of /proc/self/mountinfo."""
    there = existing(path)
    mounted = mountinfo.of_path(mounts, there)
    return BaseFacts(
        path=path,
        existing=there,
        kind=mounted.kind if mounted else "",
        point=mounted.point if mounted else "",
        options=mounted.options if mounted else frozenset(),
        is_place=all(parent.is_dir() for parent in (Path(path), *Path(path).parents) if os.path.lexists(parent)),
        writable=not os.statvfs(there).f_flag & os.ST_RDONLY,
    )


def judge(facts: BaseFacts, tried: Mapping[str, str], why_not: str, *, refuses: bool = False) -> list[Feature]:
    """The features of these facts; `why_not` says why an overlay was not tried, if it was not.

    `refuses`: nothing could be made there.
    """
    return [_usable(facts, refuses=refuses), _overlay(facts, tried, why_not), *_options(facts)]


def _usable(facts: BaseFacts, *, refuses: bool) -> Feature:
    new = "" if facts.path == facts.existing else "; does not exist yet" if facts.is_place else "; no directory"
    return Feature(
        section=Section.BASE,
        name=shown(facts.path),
        state=is_present(facts.is_place and facts.writable and not refuses),
        found=shown(f"{facts.kind}, mounted on {facts.point}{new}"),
        costs="running minibus on it",
        command="" if facts.writable else shown(f"mount -o remount,rw {shlex.quote(facts.point)}"),
        advice="choose another with --base DIR" if facts.writable else "",
        required=True,
    )


def _overlay(facts: BaseFacts, tried: Mapping[str, str], why_not: str) -> Feature:
    outcome = tried.get("overlay")
    return Feature(
        section=Section.BASE,
        name=OVERLAY,
        state=State.UNKNOWN if outcome is None else is_present(not outcome),
        found=why_not if outcome is None else outcome,
        costs="containers that share a file system without changing it, which is `vm config snapshot true`",
        advice=f"choose a base directory on ext4, xfs, btrfs or tmpfs instead of {facts.kind}",
    )


def _options(facts: BaseFacts) -> list[Feature]:
    return [
        Feature(
            section=Section.BASE,
            name=option,
            state=State.LIMITED,
            found=shown(f"{facts.point} is mounted so"),
            costs=costs,
            command=shown(f"mount -o remount,{option.removeprefix('no')} {shlex.quote(facts.point)}"),
        )
        for option, costs in HARMFUL.items()
        if option in facts.options
    ]
