"""Durations as minimega prints them (Go's time.Duration), e.g. `1h2m3.5s`, `350ms`, `0s`."""

from __future__ import annotations


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
