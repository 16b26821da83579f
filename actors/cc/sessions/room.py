"""How much guests may still write to the disk: asked of the kernel once a second, and counted down meanwhile."""

from __future__ import annotations

from shims.files.responses import Responses


class Room:
    """For all namespaces; they may lie on different file systems."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        self._left: dict[str, int] = {}

    def take(self, namespace: str, size: int) -> bool:
        """Whether so many bytes may be written; then they are counted."""
        left = self._left.get(namespace)
        if left is None:
            try:
                left = self._responses.room(namespace)
            except OSError:
                left = 0
        self._left[namespace] = left - size if left >= size else left
        return left >= size

    def look_again(self) -> None:
        """Once a second."""
        self._left.clear()
