"""Looks at the whole of a host. It changes nothing, loads no module, and what it tries is gone when it returns."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from shims.doctor import base, capacity, control_groups, figures, kernel, limits, network, programs, rights, tries
from shims.doctor.capacity import Capacity, Guest
from shims.doctor.feature import Feature, lacking
from shims.doctor.modules import Modules
from shims.doctor.source import Source

_NO_ROOT: Final = "not looked at: only root can"
_NO_TIME: Final = "not looked at: it took too long"
_WOULD_LOAD: Final = "not looked at: that could load the module overlay"
_NO_ROOM: Final = "not looked at: nothing can be written there"
_SCRATCH: Final = ".minibus-doctor-"
_LEFT_S: Final = 60.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a host."""

    host: str
    kernel: str
    user: int
    ready: bool
    """It can run containers."""
    features: tuple[Feature, ...]
    capacity: Capacity


def examine(base_directory: str, guest: Guest, expected: int, source: Source | None = None) -> Report:
    """Look at everything. For a process without threads; mostly takes half a second, at most five."""
    source = source or Source()
    modules = Modules(source, os.uname().release)
    may_try = os.geteuid() == 0
    tried, no_overlay = _try_all(base_directory, modules) if may_try else ({}, _NO_ROOT)
    why_not = _NO_TIME if may_try else _NO_ROOT
    found = figures.look(source, base.existing(base_directory))
    room = capacity.capacity(found, guest, expected)
    where = base.look(base_directory, source.text("/proc/self/mountinfo"))
    features = (
        *kernel.judge(kernel.look(source, modules, tried)),
        *control_groups.judge(control_groups.look(source)),
        *network.judge(modules, tried, why_not),
        *programs.judge(programs.look(source)),
        *rights.judge(rights.look()),
        *base.judge(where, tried, no_overlay or why_not, refuses=no_overlay == _NO_ROOM),
        *limits.judge(found, room),
    )
    return Report(
        host=socket.gethostname(),
        kernel=os.uname().release,
        user=os.geteuid(),
        ready=not lacking(features),
        features=features,
        capacity=room,
    )


def _try_all(base_directory: str, modules: Modules) -> tuple[dict[str, str], str]:
    """The outcomes, and why there is none of the overlay."""
    with _scratch(base.existing(base_directory)) as scratch:
        first: dict[str, tries.Try] = {"devpts": tries.devpts}
        if scratch and not modules.can_load("overlay"):
            first["overlay"] = tries.overlay(scratch)
        tried = tries.run({**first, **network.attempts(modules)})
    return tried, "" if "overlay" in first else _WOULD_LOAD if scratch else _NO_ROOM


@contextlib.contextmanager
def _scratch(directory: str) -> Iterator[str]:
    """An empty directory there, which is removed again; an empty text if none can be made."""
    for left in Path(directory).glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            if left.lstat().st_mtime < time.time() - _LEFT_S:  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
    try:
        made = tempfile.mkdtemp(prefix=_SCRATCH, dir=directory)
    except OSError:
        yield ""
        return
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
