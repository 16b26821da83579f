"""A report as a person reads it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from shims.doctor.capacity import Capacity, Guest
from shims.doctor.examine import Report
from shims.doctor.feature import Feature, Section, State, lacking
from shims.doctor.rights import ROOT

_COLOURS: Final = {State.OK: 32, State.LIMITED: 33, State.MISSING: 31, State.UNKNOWN: 36}
"""Green, yellow, red, cyan (ECMA-48, SGR)."""
_STATE: Final = 8
_INDENT: Final = " " * (_STATE + 5)
_NARROWEST: Final = 40
"""Columns; in fewer, wrapping makes nothing easier to read."""
_HEADER: Final = ("what runs out", "free", "a guest", "guests")


def text(report: Report, *, colours: bool, columns: int = 0) -> str:
    """All of it; sentences are wrapped at so many columns, if any. Commands are not, so that they can be copied."""
    lines = [f"{report.host}, Linux {report.kernel}, user {report.user}"]
    for section, features in groupby(report.features, key=lambda feature: feature.section):
        lines += ["", str(section)]
        listed = list(features)
        width = max(len(feature.name) for feature in listed)
        for feature in listed:
            lines += [_state(feature, width, colours=colours), *_remark(feature, columns)]
    lines += ["", *_capacity(report.capacity), "", *_verdict(report)]
    return "\n".join(lines) + "\n"


def _state(feature: Feature, width: int, *, colours: bool) -> str:
    state = f"{feature.state:{_STATE}}"
    if colours:
        state = f"\033[{_COLOURS[feature.state]}m{state}\033[0m"
    return f"  {state} {feature.name:{width}} {feature.found}".rstrip()


def _remark(feature: Feature, columns: int) -> Iterator[str]:
    if feature.state in (State.LIMITED, State.MISSING):
        yield from _wrapped(f"no {feature.costs}", columns)
        if feature.command:
            yield f"{_INDENT}$ {feature.command}"
        elif feature.advice:
            yield from _wrapped(f"- {feature.advice}", columns)


def _wrapped(sentence: str, columns: int) -> list[str]:
    if columns <= _NARROWEST:
        return [_INDENT + sentence]
    return textwrap.wrap(
        sentence, columns, initial_indent=_INDENT, subsequent_indent=f"{_INDENT}  ", break_on_hyphens=False
    )


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


def _lacked(feature: Feature) -> str:
    return f"a usable base directory, which {feature.name} is not" if feature.section is Section.BASE else feature.name


def _verdict(report: Report) -> Iterator[str]:
    without = lacking(report.features)
    if [feature.name for feature in without] == [ROOT]:
        yield "Containers need root. As far as this user can see, root can run them on this host."
        return
    if without:
        yield f"This host cannot run containers: it lacks {', '.join(map(_lacked, without))}."
        return
    yield "This host can run containers."
    resources = report.capacity.resources
    if resources:
        first = resources[0]
        yield f"About {first.fits:,} of them fit; what runs out first: {first.name}."
        if first.fits < report.capacity.expected:
            yield f"For {report.capacity.expected:,}: {first.command or first.advice}"
