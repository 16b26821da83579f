"""Removing the cgroups of an ended container, as soon as the kernel lets go of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from shims.cgroups.cgroup import Cgroups
from shims.container.loop import Loop

GIVE_UP_S: Final = 10.0
_FIRST_WAIT_S: Final = 0.002
_LONGEST_WAIT_S: Final = 0.1
_KILL_FROM_S: Final = 0.03


class Cleaning:
    """Tries until the cgroups `name` are gone, then calls `on_end("")`; any other text says why they are not."""

    def __init__(self, loop: Loop, cgroups: Cgroups, name: str, on_end: Callable[[str], None]) -> None:
        self._loop = loop
        self._cgroups = cgroups
        self._name = name
        self._on_end = on_end
        self._since = time.monotonic()
        self._wait_s = _FIRST_WAIT_S

    def attempt(self) -> None:
        """Try now, and again until there is an end; to be called once."""
        if self._cgroups.remove(self._name):
            self._on_end("")
            return
        waited_s = time.monotonic() - self._since
        if waited_s > GIVE_UP_S:
            self._on_end(f"the cgroups of container {self._name} are still in use")
            return
        if waited_s > _KILL_FROM_S:
            self._kill_rest()
        self._loop.call_later(self._wait_s, self.attempt)
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)

    def _kill_rest(self) -> None:
        """End what somebody has put into the cgroup from outside the container's namespaces."""
        self._cgroups.kill(self._name)
        with contextlib.suppress(OSError):
            self._cgroups.thaw(self._name)
