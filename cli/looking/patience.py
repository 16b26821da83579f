"""The longest that a look may take: whoever looks because something hangs must not hang as well."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

PATIENCE_S = 30.0
GRACE_S = 15
"""After it, should not even this process be able to end itself: then the kernel does it (alarm(2))."""


class Patience:
    """Ends this process with a sentence when its time is up, whatever it waits for."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._stage = "it starts"
        self._over = threading.Event()

    def now(self, stage: str) -> None:
        """What is being done from now on, for the sentence."""
        self._stage = stage

    def _wait(self) -> None:
        if not self._over.wait(self._patience_s):
            sys.stderr.write(f"minibus: no answer within {self._patience_s:g} s, gave up while {self._stage}\n")
            sys.stderr.flush()
            os._exit(1)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """For the time of a block."""
        signal.alarm(round(self._patience_s) + GRACE_S)
        threading.Thread(target=self._wait, name="patience", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()
            signal.alarm(0)


def patience() -> Patience:
    """Of a command that looks at what there is."""
    return Patience(PATIENCE_S)
