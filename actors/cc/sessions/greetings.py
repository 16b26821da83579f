"""How often sessions may begin: each is written down and told to everybody. Pure."""

from __future__ import annotations

from typing import Final

RATE: Final = 0.5
"""A second, for long."""
AT_ONCE: Final = 5.0


class Greetings:
    """Of one line, or of one guest over all its lines."""

    def __init__(self, now_s: float, at_once: float = AT_ONCE) -> None:
        self._most = self._left = at_once
        self._then_s = now_s

    def one_more(self, now_s: float) -> bool:
        """Whether one may begin now; then it counts."""
        self._left, self._then_s = self._refilled(now_s), now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def is_forgettable(self, now_s: float) -> bool:
        """Whether there were none for long."""
        return self._refilled(now_s) >= self._most

    def _refilled(self, now_s: float) -> float:
        return min(self._most, self._left + (now_s - self._then_s) * RATE)
