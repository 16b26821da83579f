"""Raises limits of this host that are known to be hit, and puts them back.

    python -m shims.doctor.tune BASE            raises what is low, for the caller's own process too
    python -m shims.doctor.tune --restore BASE  puts back what was raised

It only raises, only what can be put back, and keeps in `<base>/tuned.json` what there was before. Settings are the
whole host's, and last until they are put back or the host is booted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from shims.cgroups.hierarchy import write_file
from shims.doctor.source import Source, sysctl_path

RECORD: Final = "tuned.json"
TARGETS: Final = {
    "fs.inotify.max_user_instances": 16_384,
    "fs.inotify.max_user_watches": 1_048_576,
    "fs.epoll.max_user_watches": 134_217_728,
    "fs.file-max": 2**63 - 1,
    "kernel.pty.max": 32_768,
    "kernel.pid_max": 4_194_304,
    "net.ipv4.neigh.default.gc_thresh3": 65_536,
    "net.ipv4.neigh.default.gc_thresh2": 32_768,
    "net.ipv4.neigh.default.gc_thresh1": 16_384,
    "net.ipv6.neigh.default.gc_thresh3": 65_536,
    "net.ipv6.neigh.default.gc_thresh2": 32_768,
    "net.ipv6.neigh.default.gc_thresh1": 16_384,
    "fs.aio-max-nr": 1_048_576,
    "vm.max_map_count": 1_048_576,
}
"""For some ten thousand guests. None of them takes memory before it is made use of. In the order of raising."""
DESCRIPTORS: Final = 1_048_576
"""Hard limit of open files of the node, and of what it starts; what runs for users keeps its soft limit."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A sysctl that was raised."""

    name: str
    was: int
    now: int


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The record in the base directory."""

    boot_id: str
    """Of the kernel that this was done to: another one has forgotten it."""
    changes: tuple[Change, ...]


class Tuning:
    """What is done, and what is said about it."""

    def __init__(self, base: Path, source: Source) -> None:
        self._record = base / RECORD
        self._source = source
        self.said: list[str] = []
        self.problems: list[str] = []

    # --- raising

    def tune(self, targets: Mapping[str, int] = TARGETS) -> None:
        """Raise all that is lower than its target. Raises OSError if the record cannot be written."""
        low = self._low(targets)
        if not low:
            return
        known = {change.name: change for change in self._known()}
        record = dict(known)
        for name, now in low.items():
            record[name] = Change(name=name, was=known[name].was if name in known else now, now=targets[name])
        self._write(record)  # first: whatever happens then, it is known what there was before
        for name, now in low.items():
            if why := self._set(name, targets[name]):
                self.problems.append(f"{name} stays {now:,}: {why}")
                if name not in known:
                    del record[name]
            else:
                self.said.append(f"{name}: {now:,} -> {targets[name]:,}")
        self._write(record)

    def _low(self, targets: Mapping[str, int]) -> dict[str, int]:
        """What is lower than its target, with what it is."""
        found = {}
        for name, target in targets.items():
            now = self._source.sysctl(name)
            if now is None:
                self.problems.append(f"{name} is not there: this kernel, or the container this is, does not have it")
            elif now < target:
                found[name] = now
        return found

    def raise_descriptors(self, pid: int) -> None:
        """Raise the hard limit of open files of a process; its soft one stays."""
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        wanted = min(DESCRIPTORS, self._source.sysctl("fs.nr_open") or DESCRIPTORS)
        if hard == resource.RLIM_INFINITY or hard >= wanted:
            return
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, wanted))
        except (OSError, ValueError):
            self.problems.append(f"open files of a process stay {hard:,}: that needs CAP_SYS_RESOURCE")
        else:
            self.said.append(f"open files of a process: {hard:,} -> {wanted:,}")

    # --- putting back

    def restore(self) -> None:
        """Put back what was raised, and forget it. What somebody else has changed meanwhile is left as it is."""
        left: dict[str, Change] = {}
        for change in reversed(self._known()):
            now = self._source.sysctl(change.name)
            if now == change.was:  # raising it was interrupted, or somebody has put it back
                continue
            if now != change.now:
                self.said.append(f"{change.name}: stays {now}, which somebody else has set")
            elif why := self._set(change.name, change.was):
                self.problems.append(f"{change.name} stays {change.now:,}: {why}")
                left[change.name] = change
            else:
                self.said.append(f"{change.name}: {change.now:,} -> {change.was:,}")
        self._write(left)

    # --- the kernel and the record

    def _set(self, name: str, value: int) -> str:
        """Write a sysctl; gives why that failed, otherwise nothing."""
        path = self._source.path(sysctl_path(name))
        try:
            write_file(path, b"%d\n" % value)
        except OSError as error:
            return (error.strerror or "it cannot be written").lower()
        return "" if self._source.sysctl(name) == value else "the kernel does not take it"

    def _boot_id(self) -> str:
        return self._source.text("/proc/sys/kernel/random/boot_id").strip()

    def _known(self) -> tuple[Change, ...]:
        """What was raised since this kernel was booted."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            tuned = msgspec.json.decode(self._record.read_bytes(), type=Tuned)
            if tuned.boot_id == self._boot_id():
                return tuned.changes
        return ()

    def _write(self, changes: dict[str, Change]) -> None:
        """Whole or not at all; without changes there is no record."""
        if not changes:
            self._record.unlink(missing_ok=True)
            return
        tuned = Tuned(boot_id=self._boot_id(), changes=tuple(changes.values()))
        new = self._record.with_name(f"{RECORD}.new")
        with open(new, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(tuned)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._record)


def main(arguments: list[str]) -> int:
    """Do it and tell; the exit status is 1 if something that was raised could not be put back."""
    restores = arguments[:1] == ["--restore"]
    rest = arguments[restores:]
    if len(rest) != 1:
        sys.stderr.write("usage: python -m shims.doctor.tune [--restore] BASE\n")
        return 2
    if os.geteuid() != 0:
        sys.stderr.write("minibus: limits of the host are root's to change\n")
        return 1
    tuning = Tuning(Path(rest[0]), Source())
    try:
        if restores:
            tuning.restore()
        else:
            tuning.tune()
            tuning.raise_descriptors(os.getppid())
    except OSError as error:
        tuning.problems.append(f"{error.filename or rest[0]}: {error.strerror}")
    nothing = "nothing was changed" if tuning.problems else "nothing had to be changed"
    sys.stdout.writelines(f"{line}\n" for line in tuning.said or [nothing])
    sys.stdout.flush()
    sys.stderr.writelines(f"minibus: {line}\n" for line in tuning.problems)
    return 1 if restores and tuning.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
