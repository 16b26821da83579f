"""Long answers on a terminal, shown by the user's pager."""

from __future__ import annotations

import os
import pydoc
import shutil
import sys

DEFAULT_PAGER = "less"
SCREENS = 2
"""An answer that fills more than so many screens goes to the pager."""


def needs_pager(text: str, screen_lines: int) -> bool:
    """Whether a text is too long to be printed at once."""
    return screen_lines > 0 and text.count("\n") + 1 > SCREENS * screen_lines


def show(text: str) -> None:
    """Print a text; a long one on a terminal goes to `$PAGER`, by default `less`, if there is such a program."""
    pager = os.environ.get("PAGER") or DEFAULT_PAGER
    words = pager.split()
    if (
        sys.stdout is None
        or not sys.stdout.isatty()
        or not needs_pager(text, shutil.get_terminal_size().lines)
        or not words
        or shutil.which(words[0]) is None
    ):
        print(text, flush=True)
        return
    print(f"-- sending {text.count(chr(10)) + 1} lines to $PAGER --", flush=True)
    # $PAGER is a command line of the user's own shell, and pydoc runs it as such; the text goes to its stdin.
    pydoc.pipepager(text + "\n", pager)
