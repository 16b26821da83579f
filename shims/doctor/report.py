"""A report as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from shims.doctor.capacity import Capacity, Guest
from shims.doctor.examine import Report
from shims.doctor.feature import Feature, State, lacking
from shims.doctor.rights import ROOT

_COLOURS: Final = {State.OK: 32, State.LIMITED: 33, State.MISSING: 31, State.UNKNOWN: 36}
"""Green, yellow, red, cyan (ECMA-48, SGR)."""
_STATE: Final = 8
_HEADER: Final = ("what runs out", "free", "a guest", "guests")


def text(report: Report, *, colours: bool) -> str:
    """All of it."""
    lines = [f"{report.host}, Linux {report.kernel}, user {report.user}"]
    for section, features in groupby(report.features, key=lambda feature: feature.section):
        lines += ["", str(section)]
        listed = list(features)
        width = max(len(feature.name) for feature in listed)
        lines += [line for feature in listed for line in _feature(feature, width, colours=colours)]
    lines += ["", *_capacity(report.capacity), "", *_verdict(report)]
    return "\n".join(lines) + "\n"


def _feature(feature: Feature, width: int, *, colours: bool) -> Iterator[str]:
    state = f"{feature.state:{_STATE}}"
    if colours:
        state = f"\033[{_COLOURS[feature.state]}m{state}\033[0m"
    yield f"  {state} {feature.name:{width}} {feature.found}".rstrip()
    if feature.state in (State.LIMITED, State.MISSING):
        indent = " " * (_STATE + 5)
        yield f"{indent}no {feature.costs}"
        if feature.remedy:
            yield f"{indent}{'$' if feature.command else '-'} {feature.remedy}"


def _capacity(capacity: Capacity) -> Iterator[str]:
    yield f"guests that fit ({_assumed(capacity.guest)})"
    rows = [(each.name, f"{each.free:,}", _amount(each.per_guest), f"{each.fits:,}") for each in capacity.resources]
    widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(len(_HEADER))]
    for row in (_HEADER, *rows):
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {first}  {'  '.join(others)}"


def _assumed(guest: Guest) -> str:
    memory = f"using {guest.memory_mib:,} MiB" if guest.memory_mib else "idle"
    counts = (_count(guest.interfaces, "interface"), _count(guest.processes, "process"))
    watchers = f", {guest.watchers} of them watching files" if guest.watchers else ""
    return f"containers, {memory}, each with {' and '.join(counts)}{watchers}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def _amount(number: float) -> str:
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def _verdict(report: Report) -> Iterator[str]:
    without = lacking(report.features)
    if [feature.name for feature in without] == [ROOT]:
        yield "Containers need root. As far as this user can see, root can run them on this host."
        return
    if without:
        yield f"This host cannot run containers: it lacks {', '.join(feature.name for feature in without)}."
        return
    yield "This host can run containers."
    resources = report.capacity.resources
    if resources:
        first = resources[0]
        yield f"About {first.fits:,} of them fit; what runs out first: {first.name}."
        if first.fits < report.capacity.expected:
            yield f"For {report.capacity.expected:,}: {first.command or first.advice}"
