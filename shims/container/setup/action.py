"""The set-up of a container as data: a list of calls, worked out by the warden and carried out by the new process.

A process just cloned shares its memory with the warden until it touches it, and every page it touches costs a fault
and a copy. So it should not think: running down a list of prepared calls takes less than half of the faults that the
same steps took as functions (measured: 240 instead of 550, at 3 µs each on a virtual machine).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Action(NamedTuple):
    """One call, as plain values: it crosses from the warden to the process that clones."""

    step: str
    """What a message calls it."""
    call: str
    """A function that returns a negative number and sets errno, as the C library does, or raises an exception."""
    arguments: tuple[Any, ...]
    path: str | bytes = ""
    """What a message names."""
    tolerated: tuple[int, ...] = ()
    """errno values that are as good as success."""
    keep_as: int = -1
    """The number that a descriptor it returns is to have, so that later calls can name it."""
    warning: str = ""
    """Not empty: a failure is a warning in these words, and the next `skip` actions are left out."""
    skip: int = 0
