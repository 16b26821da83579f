"""Durations as minimega prints and reads them (Go's time.Duration), e.g. `1h2m3.5s`, `350ms`, `0s`."""

from __future__ import annotations

import re

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Both letters that look like a micro sign are in use."""
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(" + "|".join(sorted(_UNITS_S, key=len, reverse=True)) + ")")
_WHOLE = re.compile(rf"[-+]?(?:0|(?:{_PART.pattern})+)")


def format_duration(seconds: float) -> str:
    """Whole milliseconds, no trailing zeros; below a second in `ms`."""
    total_ms = round(abs(seconds) * 1000)
    sign = "-" if seconds < 0 and total_ms else ""
    if total_ms == 0:
        return "0s"
    if total_ms < 1000:
        return f"{sign}{total_ms}ms"
    minutes, rest_ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    fraction = f"{rest_ms % 1000:03d}".rstrip("0")
    text = f"{rest_ms // 1000}{'.' if fraction else ''}{fraction}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def parse_duration(text: str) -> float:
    """Seconds; raises ValueError with one sentence."""
    if len(text) > 100 or not _WHOLE.fullmatch(text):
        raise ValueError(f"not a duration such as 200ms, 1.5s or 1m30s: {text[:80]!r}")
    seconds = sum(float(value) * _UNITS_S[unit] for value, unit in _PART.findall(text))
    return -seconds if text.startswith("-") else seconds
