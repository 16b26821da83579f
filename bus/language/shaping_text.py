"""Constraints of interfaces as text, for the column `qos` of `vm info`: `[0: loss 0.25 delay 100ms, 1: rate 1mbit]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bus.messages.network import Shaping

_RATE_UNITS: Final = (("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000), ("bit", 1))
_TIME_UNITS: Final = (("s", 1_000_000), ("ms", 1000), ("us", 1))


def qos_text(shapings: Iterable[Shaping]) -> str:
    """The constraints of one VM's interfaces by index, without those that have none."""
    texts = [f"{index}: {shaping_text(shaping)}" for index, shaping in enumerate(shapings) if is_shaped(shaping)]
    return f"[{', '.join(texts)}]"


def is_shaped(shaping: Shaping) -> bool:
    """Whether there is any constraint."""
    return bool(shaping_text(shaping))


def shaping_text(shaping: Shaping) -> str:
    """The constraints of one interface, e.g. `rate 1mbit loss 0.25 delay 100ms`; empty if there are none."""
    words = []
    if shaping.rate_bps:
        words += ["rate", shaping.rate_text or rate_text(shaping.rate_bps)]
    if shaping.loss_percent:
        words += ["loss", f"{shaping.loss_percent:g}"]
    if shaping.delay_us:
        words += ["delay", delay_text(shaping.delay_us)]
    if shaping.jitter_us:
        words += ["jitter", delay_text(shaping.jitter_us)]
    if shaping.corrupt_percent:
        words += ["corrupt", f"{shaping.corrupt_percent:g}"]
    return " ".join(words)


def rate_text(rate_bps: int) -> str:
    """In the largest unit that gives a whole number: `10mbit`, `1500kbit`."""
    unit, size = next((unit, size) for unit, size in _RATE_UNITS if rate_bps % size == 0)
    return f"{rate_bps // size}{unit}"


def delay_text(delay_us: int) -> str:
    """In the largest unit of which it is at least one: `1.5s`, `100ms`, `20us`."""
    unit, size = next((unit, size) for unit, size in _TIME_UNITS if delay_us >= size or size == 1)
    fraction = f"{delay_us % size:0{len(str(size)) - 1}d}".rstrip("0") if size > 1 else ""
    return f"{delay_us // size}{'.' if fraction else ''}{fraction}{unit}"
