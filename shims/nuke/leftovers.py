"""What a base directory has left on this host: looked up in the kernel, never assumed.

Used after everything should be gone. Each line of an answer names one thing, e.g. `process 812 (sh)`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from shims.cgroups.cgroup import Cgroups, host_layout
from shims.cgroups.hierarchy import TOP
from shims.network import clearing, guest_netns
from shims.programs import process_tree

__all__ = ["cgroups", "devices", "files", "find", "mounts", "names", "networks", "processes"]


def find(base: Path, tag: str) -> list[str]:
    """Everything of `base` that is left: processes, mounts, control groups, network devices, files of guests."""
    return [*processes(base, tag), *mounts(base, tag), *cgroups(tag), *networks(tag), *names(tag), *files(base)]


def processes(base: Path, tag: str) -> list[str]:
    """Processes in a cgroup of the tag, background jobs of it, and holders of a lock of the base directory."""
    owner = Cgroups(host_layout(), tag)
    found = {pid for name in owner.names() for pid in owner.pids(name)} | set(_lock_holders(base))
    found |= set(process_tree.marked(f"{tag}-"))
    return [f"process {pid} ({_command(pid)})" for pid in sorted(found - {os.getpid()})]


def mounts(base: Path, tag: str) -> list[str]:
    """Mounts that name the base directory or carry the tag, in any mount namespace that a process is in."""
    seen: set[int] = set()
    found = []
    for pid in process_tree.all_pids():
        try:
            space = os.stat(f"/proc/{pid}/ns/mnt").st_ino
            if space in seen:
                continue
            text = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
        except OSError:  # it has ended meanwhile, or belongs to the machine (its namespaces are hidden)
            continue
        seen.add(space)
        found += [f"mount {point} (as process {pid} sees it)" for point in mounts_in(text, base, tag)]
    return found


def mounts_in(mountinfo: str, base: Path, tag: str) -> list[str]:
    """The mount points in the text of a mountinfo file (proc(5)) that belong to the base directory."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, source = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(source) < 2:
            continue
        ours = source[1].startswith(f"{TOP}_{tag}_")
        if ours or any(_is_below(path, base) for path in (fields[3], fields[4])):
            found.append(fields[4])
    return found


def cgroups(tag: str) -> list[str]:
    """Control groups of the tag, and their base directories."""
    owner = Cgroups(host_layout(), tag)
    found = []
    for directory in owner.directories:
        for path, _, _ in os.walk(directory):
            found.append(f"cgroup {path}")
    return found


def devices(tag: str) -> list[str]:
    """Interfaces of guests, host taps, and interfaces of the host that are plugged in."""
    return clearing.devices(tag)


def networks(tag: str) -> list[str]:
    """The same, and the network namespace that they are in."""
    return clearing.left(tag)


def names(tag: str) -> list[str]:
    """Names of guests' network namespaces."""
    return [f"name {guest_netns.DIRECTORY / name}" for name in guest_netns.names(tag)]


def files(base: Path) -> list[str]:
    """Instance directories of guests; the rest of a base directory stays on purpose (journals, logs, the file area)."""
    try:
        entries = sorted(os.listdir(base))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [f"directory {base / name}" for name in entries if name.isdecimal() and (base / name).is_dir()]


def _is_below(path: str, base: Path) -> bool:
    return path == str(base) or path.startswith(f"{base}/")


def _lock_holders(base: Path) -> Iterator[int]:
    """The pid written in each lock file that somebody holds (flock(2))."""
    for path in (base / "run").glob("*.lock"):
        try:
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = file.read(32).strip()
                    if text.isdigit() and Path(f"/proc/{int(text)}").exists():
                        yield int(text)
        except OSError:  # removed meanwhile
            continue


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended"
