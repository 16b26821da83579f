"""So many of something within so long, and the rest counted. Pure."""

from __future__ import annotations

from collections import deque


class Throttle:
    """At most `count` within any `window_s`."""

    def __init__(self, count: int, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=count)
        self._held_back = 0

    def allows(self, now_s: float) -> int | None:
        """How many were held back since the last one that may go; None if this one is held back."""
        if len(self._times) == self._times.maxlen and self._times[0] > now_s - self._window_s:
            self._held_back += 1
            return None
        self._times.append(now_s)
        held_back, self._held_back = self._held_back, 0
        return held_back
