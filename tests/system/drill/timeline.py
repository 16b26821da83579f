"""What happened when, for whoever reads a drill that failed; written by many threads."""

from __future__ import annotations

import sys
import threading
import time


class Timeline:
    """Lines with the seconds since it was made."""

    def __init__(self, *, shown: bool = False) -> None:
        """With `shown` every line goes to stdout at once."""
        self._begun_s = time.monotonic()
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._shown = shown

    def note(self, text: str) -> None:
        """Add a line."""
        line = f"{time.monotonic() - self._begun_s:8.3f}  {text}"
        with self._lock:
            self._lines.append(line)
            if self._shown:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()

    def text(self, last: int = 200) -> str:
        """The last lines."""
        with self._lock:
            return "\n".join(self._lines[-last:])
