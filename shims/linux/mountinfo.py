"""The text of /proc/PID/mountinfo, taken apart (proc(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Mounted(NamedTuple):
    """One mount."""

    point: str
    source: str
    """What was given to mount(2): a device, or any word."""


def read(text: str) -> Iterator[Mounted]:
    """The mounts in the text of a mountinfo file, in the order of mounting; what is no such line is left out."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, end = left.split(" "), right.split(" ")
        if len(fields) >= 5 and len(end) >= 2:
            yield Mounted(_unescape(fields[4]), _unescape(end[1]))


def _unescape(text: str) -> str:
    """Blanks, line ends and backslashes are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
