"""Waiting until frozen: the kernel stops processes one by one, and a warden must not stand still meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from shims.cgroups.cgroup import Cgroups
from shims.container.loop import Loop

FREEZE_TIMEOUT_S: Final = 10.0
"""A process in an uninterruptible sleep (vfork, a dead NFS server) can put the freeze off for ever."""

_FIRST_LOOK_S: Final = 0.001
_LONGEST_WAIT_S: Final = 0.05


class FreezeWatch:
    """Calls back once a cgroup is frozen, or with a sentence if it will not be."""

    def __init__(self, loop: Loop, cgroups: Cgroups, name: str, on_end: Callable[[str], None]) -> None:
        """Freeze `name`; `on_end("")` says that it is frozen, other text why not. Raises OSError, calling nobody."""
        self._loop = loop
        self._cgroups = cgroups
        self._name = name
        self._on_end = on_end
        self._deadline = time.monotonic() + FREEZE_TIMEOUT_S
        self._wait_s = _FIRST_LOOK_S
        self._cancelled = False
        cgroups.freeze(name)

    def look(self) -> None:
        """Look now, and again until there is an end; to be called once."""
        if self._cancelled:
            return
        try:
            frozen = self._cgroups.is_frozen(self._name)
        except OSError as error:
            self._on_end(f"freezer: {error.filename}: {error.strerror}")
            return
        if frozen:
            self._on_end("")
        elif time.monotonic() > self._deadline:
            self._on_end(f"freezer: container {self._name} did not stop within {FREEZE_TIMEOUT_S:.0f} s")
        else:
            self._loop.call_later(self._wait_s, self.look)
            self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)

    def cancel(self) -> None:
        """Call nobody any more; the cgroup is left as it is."""
        self._cancelled = True
