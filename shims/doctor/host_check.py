"""Whether a host has what minibus makes use of: the part of `shims.doctor` that is quick and tries nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from bus.messages.host import Finding
from shims.doctor import capacity, control_groups, figures, kernel, limits, programs, rights
from shims.doctor.feature import Feature, State
from shims.doctor.modules import Modules
from shims.doctor.source import Source


def check() -> tuple[Finding, ...]:
    """Everything that was looked for, what is missing first."""
    source = Source()
    room = capacity.capacity(figures.look_at_limits(source), capacity.Guest())
    return findings(
        (
            *rights.judge(rights.look()),
            *kernel.judge(kernel.look(source, Modules(source, os.uname().release), {})),
            *control_groups.judge(control_groups.look(source)),
            *programs.judge(programs.look(source)),
            *limits.tight(room),
        )
    )


def findings(features: Iterable[Feature]) -> tuple[Finding, ...]:
    """What of these concerns users of today, what is missing first."""
    found = [
        Finding(
            name=feature.name,
            present=feature.state in (State.OK, State.UNKNOWN),
            required=feature.required,
            disables=feature.costs,
            remedy=feature.remedy,
        )
        for feature in features
        if not feature.minor
    ]
    return tuple(sorted(found, key=lambda finding: (finding.present, not finding.required)))
