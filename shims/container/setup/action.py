"""The set-up of a container as data: a list of calls, worked out by the warden and carried out by the new process.

A process just cloned shares its memory with the warden until it touches it, and every page it touches costs a fault
and a copy. So it should not think: running down a list of prepared calls takes less than half of the faults that the
same steps took as functions (measured: 240 instead of 550, at 3 µs each on a virtual machine).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from shims.container.setup.advice import advised
from shims.linux.libc import LIBC_HOLDING_LOCK as LIBC

C_FUNCTIONS: Final = (
    "capset",
    "chdir",
    "chroot",
    "close",
    "dup2",
    "dup3",
    "fchdir",
    "ioctl",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "open",
    "prctl",
    "prlimit",
    "setpriority",
    "setsid",
    "sethostname",
    "setns",
    "socket",
    "symlink",
    "syscall",
    "umask",
    "umount2",
    "unlink",
    "unshare",
    "write",
)
"""What an action can call by name in the C library; beside these, `check_init`, `run_preinit`, `install_filter`,
`enter_user_namespace`."""


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


class ActionError(Exception):
    """A call failed; one sentence with step, path and the kernel's reason."""


def c_functions() -> dict[str, Callable[..., int]]:
    """The functions of the C library that actions call."""
    return {name: getattr(LIBC, name) for name in C_FUNCTIONS}


def perform(actions: Iterable[tuple[Any, ...]], calls: Mapping[str, Callable[..., int]]) -> list[str]:
    """Carry out `actions` in order; returns the warnings. Raises `ActionError`, or what a call raises."""
    warnings = []
    skip = 0
    for step, call, arguments, path, tolerated, keep_as, warning, skipped in actions:
        if skip:
            skip -= 1
            continue
        result = calls[call](*arguments)
        if result < 0:
            number = ctypes.get_errno()
            if number in tolerated:
                continue
            if not warning:
                raise ActionError(sentence(step, path, number))
            warnings.append(f"{warning}: {os.strerror(number)}")
            skip = skipped
        elif keep_as >= 0 and result != keep_as:
            if calls["dup3"](result, keep_as, os.O_CLOEXEC) < 0:
                raise ActionError(sentence(step, path, ctypes.get_errno()))
            calls["close"](result)
    return warnings


def sentence(step: str, path: str | bytes, number: int) -> str:
    """What a message says of a failed call."""
    said = ": ".join(part for part in (step, os.fsdecode(path), os.strerror(number)) if part)
    return advised(said, step, number)
