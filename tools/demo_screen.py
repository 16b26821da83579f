"""Where the demo writes: results to stdout, what is going on to stderr, as one changing line if that is a terminal."""

from __future__ import annotations

import time
from typing import TextIO

REDRAW_S = 0.05
ERASE = "\r\x1b[K"
"""To the start of the line and erase it (console_codes(4))."""


class Screen:
    """See the module. Each method leaves both streams at the start of a line, or behind the progress line."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._live = err.isatty()
        self._doing = ""
        self._drawn_s = 0.0

    def show(self, text: str) -> None:
        """A result."""
        self._erase()
        self._out.write(f"{text}\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """A remark about the demo itself."""
        self._erase()
        self._err.write(f"demo: {text}\n")
        self._err.flush()

    def begin(self, doing: str) -> None:
        """A part begins: a line of its own, or on a terminal the line that changes."""
        self._doing = doing
        if self._live:
            self._draw(doing)
        else:
            self.say(doing)

    def count(self, number: int, total: int) -> None:
        """How far the part is; shown on a terminal, where it may come as often as it likes."""
        now_s = time.monotonic()
        if self._live and self._doing and (now_s - self._drawn_s >= REDRAW_S or number == total):
            self._drawn_s = now_s
            self._draw(f"{self._doing}: {number} of {total}")

    def end(self) -> None:
        """The part has ended."""
        self._erase()
        self._doing = ""

    def _draw(self, text: str) -> None:
        self._err.write(f"{ERASE}demo: {text}")
        self._err.flush()

    def _erase(self) -> None:
        if self._live and self._doing:
            self._err.write(ERASE)
            self._err.flush()
