"""How much guests may still write to the disk: asked of the kernel once a second, and counted down meanwhile."""

from __future__ import annotations

import asyncio
from typing import Final

from shims.files.responses import Responses

REREADING: Final = 2
"""Guests whose files are read again at a time."""


class Room:
    """For all namespaces; they may lie on different file systems."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        self._left: dict[str, int] = {}
        self.rereading = asyncio.Semaphore(REREADING)
        """For guests that go on sending files."""

    def fits(self, namespace: str, size: int) -> bool:
        """Whether so many bytes might be written. None of them are counted: they may never come."""
        return self._known(namespace) >= size

    def take(self, namespace: str, size: int) -> bool:
        """Whether so many bytes may be written; then they are counted."""
        left = self._known(namespace)
        if left < size:
            return False
        self._left[namespace] = left - size
        return True

    def _known(self, namespace: str) -> int:
        if namespace not in self._left:
            try:
                self._left[namespace] = self._responses.room(namespace)
            except OSError:
                self._left[namespace] = 0
        return self._left[namespace]

    def look_again(self) -> None:
        """Once a second."""
        self._left.clear()
