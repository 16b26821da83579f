"""The user's terminal while it is the console of a guest: raw, and as it was before when that is over."""

from __future__ import annotations

import contextlib
import os
import re
import termios
import tty
from types import TracebackType
from typing import Any, Self

from cli.streams.standard_streams import STDIN, STDOUT

ESCAPE = b"\x1d"
"""Ctrl-]"""
RESET = (
    b"\x1b[0m\x1b[?25h"  # plain characters, the cursor visible
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l"  # no reports of the mouse, no marks around a paste
    b"\x1b[?1l\x1b>\x1b[?47l\r\n"  # ordinary arrow keys and keypad, the ordinary screen
)
"""What a full-screen program that one leaves in the middle has set (XTerm Control Sequences)."""
_QUERIES = re.compile(
    rb"\x1b\[[?>=]?[0-9;]*(?:[cnx]|\$p|(?<=1[0-9])t|(?<=2[01])t)"  # attributes, status, modes, window reports
    rb"|\x1b\][0-9;]*\?(?:\x07|\x1b\\)"  # colours
    rb"|\x1bP[$+]q[^\x1b]*\x1b\\"  # settings
    rb"|\x05|\x1bZ"
)


def without_queries(data: bytes) -> bytes:
    """Earlier output without what a terminal answers to.

    The one that was asked has answered; what this one said would be typed at whatever runs now.
    """
    return _QUERIES.sub(b"", data)


_UNFINISHED = re.compile(rb"\x1b(?:\[[?>=]?[0-9;]{0,64}\$?|\][^\x07\x1b]{0,64}|P[^\x1b]{0,64}\x1b?)?\Z")


class QueryFilter:
    """`without_queries` for output that comes in pieces; an unfinished sequence waits for the rest of it."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown of it now."""
        data = self._held + data
        unfinished = _UNFINISHED.search(data, max(len(data) - 128, 0))
        end = unfinished.start() if unfinished else len(data)
        self._held = data[end:]
        return without_queries(data[:end])


class RawTerminal:
    """`with RawTerminal() as terminal: ... terminal.enter()`. Without a terminal on stdin all of it does nothing."""

    def __init__(self) -> None:
        self.is_raw = False
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Put everything back; what is typed and not yet read is dropped, as it was meant for the guest."""
        if not self.is_raw:
            return
        self.is_raw = False
        with contextlib.suppress(OSError):
            if os.isatty(STDOUT):
                os.write(STDOUT, RESET)
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSAFLUSH, self._before)

    def enter(self) -> None:
        """Every key goes through unchanged from now on; also to be called when the program goes on after a stop."""
        with contextlib.suppress(termios.error):
            before = self._before or termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSADRAIN)
            self._before, self.is_raw = before, True


def size() -> tuple[int, int] | None:
    """Rows and columns of the terminal, if it knows."""
    for fd in (STDIN, STDOUT):
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(fd)
            if rows and columns:
                return rows, columns
    return None
