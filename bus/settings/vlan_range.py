"""The numbers that VLAN aliases get, as the host was started."""

from __future__ import annotations

import os
import re

from bus.errors import InvalidError

VLAN_RANGE = "MINIBUS_VLAN_RANGE"
"""Environment variable that carries `minibus up --vlan-range` to the processes of the node."""
DEFAULT_RANGE = (101, 4096)
"""From the first number up to but without the second."""
END = 4096
"""One more than the largest number."""
_FORM = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


def range_error(minimum: int, maximum: int) -> str:
    """Why these numbers make no range, as a sentence; empty if they do."""
    if maximum <= minimum:
        return f"expected min < max: {minimum} is not below {maximum}"
    if minimum < 0 or maximum > END:
        return f"a range of VLANs is within 0 and {END}, its end not included, not {minimum} to {maximum}"
    return ""


def parse_range(text: str) -> tuple[int, int]:
    """Read `MIN-MAX`; raises InvalidError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise InvalidError(f"`{text[:80]}` is no range of VLANs: expected MIN-MAX, such as {format_range()}")
    minimum, maximum = int(match[1]), int(match[2])
    sentence = range_error(minimum, maximum)
    if sentence:
        raise InvalidError(sentence)
    return minimum, maximum


def format_range(minimum: int = DEFAULT_RANGE[0], maximum: int = DEFAULT_RANGE[1]) -> str:
    """A range as it is typed and shown."""
    return f"{minimum}-{maximum}"


def wanted() -> tuple[int, int]:
    """What this process's node was started with; raises InvalidError."""
    text = os.environ.get(VLAN_RANGE, "")
    return parse_range(text) if text else DEFAULT_RANGE
