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
    kind: str = ""
    """Of the file system."""
    options: frozenset[str] = frozenset()
    """Of the mount and of the file system."""


def read(text: str) -> Iterator[Mounted]:
    """The mounts in the text of a mountinfo file, in the order of mounting; what is no such line is left out."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, end = left.split(" "), right.split(" ")
        if len(fields) >= 6 and len(end) >= 2:
            options = {*fields[5].split(","), *(end[2].split(",") if len(end) > 2 else ())}
            yield Mounted(_unescape(fields[4]), _unescape(end[1]), end[0], frozenset(options))


def of_path(text: str, path: str) -> Mounted | None:
    """The mount that an absolute path without symbolic links is on; None if the text says nothing about it."""
    found = None
    for mounted in read(text):
        is_above = path == mounted.point or path.startswith(f"{mounted.point.rstrip('/')}/")
        if is_above and (found is None or len(mounted.point) >= len(found.point)):  # the later one covers the other
            found = mounted
    return found


def _unescape(text: str) -> str:
    """Blanks, line ends and backslashes are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
