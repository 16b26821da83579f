"""What is said about one thing that a host has or lacks."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class State(StrEnum):
    """How it stands with a feature."""

    OK = "ok"
    LIMITED = "limited"
    """There, but not as much or as good as it should be."""
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It could not be looked at, and `found` says why."""


class Section(StrEnum):
    """Where it is listed."""

    KERNEL = "kernel"
    CGROUPS = "cgroups"
    NETWORK = "network"
    PROGRAMS = "programs"
    PERMISSIONS = "permissions"
    BASE = "base directory"
    LIMITS = "limits"


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that minibus makes use of. `command` and `advice` may both be empty only where all is well."""

    section: Section
    name: str
    state: State
    found: str = ""
    """What is there, in a few words."""
    costs: str = ""
    """What cannot be done, or not fully, without it."""
    command: str = ""
    """For a shell; mends it."""
    advice: str = ""
    """What to do where no command helps."""
    required: bool = False
    """Without it there are no containers."""
    minor: bool = False
    """Nothing that minibus does today stops without it; the command `check` does not speak of it."""

    @property
    def remedy(self) -> str:
        """The command or the advice; empty if there is neither."""
        return self.command or self.advice


def shown(text: str) -> str:
    """A name that somebody has chosen, as it can be printed in one line and written as JSON."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def is_present(present: bool | None) -> State:
    """The state of what is either there or not; None if that could not be seen."""
    if present is None:
        return State.UNKNOWN
    return State.OK if present else State.MISSING


def lacking(features: Iterable[Feature]) -> list[Feature]:
    """Those without which there are no containers, of those that are missing."""
    return [feature for feature in features if feature.required and feature.state is State.MISSING]
