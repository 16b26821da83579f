"""What a benchmark declares and measures, and how the results are judged and shown. No I/O here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

HEADER = ("name", "value", "unit", "reference", "ratio", "budget", "")


class UnavailableError(Exception):
    """A benchmark cannot run here; the text says why and takes the place of its numbers."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One row of the table: what is measured, and within what it must stay."""

    name: str
    unit: str
    limit: float
    direction: Literal[">=", "<="]
    of: Literal["ratio", "value"] = "ratio"
    """`ratio`: value divided by a reference measured in the same run; `value`: an absolute figure in `unit`."""

    def __str__(self) -> str:
        shown = f"{self.direction} {self.limit:g}"
        return shown if self.of == "ratio" else f"{shown} {self.unit} abs"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of one row, both in the unit of its budget; `reference` is absent where the budget is absolute."""

    value: float
    reference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A budget with its figures, or with the reason why there are none."""

    budget: Budget
    measured: Measured | None = None
    reason: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over reference, where both exist."""
        if self.measured is None or not self.measured.reference:
            return None
        return self.measured.value / self.measured.reference

    @property
    def met(self) -> bool | None:
        """Whether the figure is within the budget; None if it was not measured."""
        if self.measured is None:
            return None
        figure = self.ratio if self.budget.of == "ratio" else self.measured.value
        if figure is None:
            return None
        return figure >= self.budget.limit if self.budget.direction == ">=" else figure <= self.budget.limit


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark file: the rows it fills and the function that measures them, keyed by the names of the rows."""

    rows: tuple[Budget, ...]
    run: Callable[[], Mapping[str, Measured]]


def rows_of(benchmark: Benchmark, results: Mapping[str, Measured], reason: str = "") -> list[Row]:
    """Join what was declared with what was measured; `reason` explains the rows without figures."""
    missing = reason or "not measured"
    return [
        Row(budget=budget, measured=results[budget.name])
        if budget.name in results
        else Row(budget=budget, reason=missing)
        for budget in benchmark.rows
    ]


def figure(number: float | None) -> str:
    """Three significant digits, without an exponent; `-` for none."""
    if number is None:
        return "-"
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:.{decimals}f}"


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table as text; a row that was not measured says why in place of a verdict."""
    if row.measured is None:
        return (row.budget.name, "-", row.budget.unit, "-", "-", str(row.budget), f"not measured: {row.reason}")
    verdict = {True: "ok", False: "MISS", None: "no reference"}[row.met]
    values = (figure(row.measured.value), row.budget.unit, figure(row.measured.reference), figure(row.ratio))
    return (row.budget.name, *values, str(row.budget), verdict)


def table(rows: Iterable[Row]) -> str:
    """All rows as aligned text: numbers to the right, words to the left."""
    lines = [HEADER, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    numeric = {"value", "reference", "ratio"}
    padded = (
        text.rjust(width) if name in numeric else text.ljust(width)
        for name, text, width in zip(HEADER, line, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def as_json(rows: Iterable[Row]) -> dict[str, dict[str, object]]:
    """The rows as they are written to a file: name to value, unit, reference, ratio and budget.

    `met` tells the verdict, so that a reader need not parse the budget; `reason` is present only where value is null.
    """
    return {row.budget.name: _entry(row) for row in rows}


def _entry(row: Row) -> dict[str, object]:
    measured = row.measured
    entry: dict[str, object] = {
        "value": measured.value if measured else None,
        "unit": row.budget.unit,
        "reference": measured.reference if measured else None,
        "ratio": row.ratio,
        "budget": str(row.budget),
        "met": row.met,
    }
    return entry if measured else entry | {"reason": row.reason}


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile; raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]
