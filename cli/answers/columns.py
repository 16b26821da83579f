"""Aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[str]) -> str:
    """Lines with every column as wide as it must be; those named in `left` begin at the left, numbers at the right."""
    table = [header, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ).rstrip()
        for row in table
    )


def seconds(value: float | None) -> str:
    """A duration to be read at a glance: three digits, and a unit from microseconds to hours; `-` for none."""
    if value is None:
        return "-"
    for limit, factor, unit in _UNITS:
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value / 3600:.1f} h"


_UNITS = ((0.0009995, 1e6, "us"), (0.9995, 1e3, "ms"), (99.95, 1.0, "s"), (5997.0, 1 / 60, "min"))
