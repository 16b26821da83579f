"""How programs end, in the words that users of minimega know. Imports little: clients use it too."""

from __future__ import annotations

import signal


def describe_exit(exit_status: int) -> str:
    """`exit status 3`; for a negative number the signal that ended the program: `signal: killed` for -9."""
    if exit_status >= 0:
        return f"exit status {exit_status}"
    try:
        name = signal.strsignal(-exit_status)
    except ValueError:  # no signal of this system
        name = None
    return f"signal: {(name or str(-exit_status)).lower()}"
