"""Names for the network namespaces of guests, so that `ip netns exec meganet_<tag>_<id>` finds them (ip-netns(8)).

A name is a symbolic link to a process's entry in /proc: it keeps nothing alive.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path("/run/netns")


def prefix(tag: str) -> str:
    """What the names of one base directory begin with."""
    return f"meganet_{tag}_"


def link(tag: str, vm_id: int, pid: int) -> None:
    """Name the namespace that a process is in, in place of what had the name; pid 0: remove it. Raises OSError."""
    path = DIRECTORY / f"{prefix(tag)}{vm_id}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if pid:
        target = f"/proc/{pid}/ns/net"
        try:
            os.symlink(target, path)
        except FileNotFoundError:
            DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
            os.symlink(target, path)


def names(tag: str) -> list[str]:
    """All names of one base directory, sorted."""
    try:
        return sorted(name for name in os.listdir(DIRECTORY) if name.startswith(prefix(tag)))
    except FileNotFoundError:
        return []


def remove_all(tag: str) -> int:
    """Remove all names of one base directory; returns how many there were. Raises OSError."""
    found = names(tag)
    for name in found:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(DIRECTORY / name)
    return len(found)
