"""Carrying out the actions of a set-up (see `shims.container.setup.action`), in the new process.

Loads little: what the cloner has loaded, every container pays for.
"""

from __future__ import annotations

import ctypes
import os

from shims.container.setup.advice import advised
from shims.linux.libc import LIBC_HOLDING_LOCK as LIBC

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final

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


class ActionError(Exception):
    """A call failed; one sentence with step, path and the kernel's reason."""


def c_functions() -> dict[str, Callable[..., int]]:
    """The functions of the C library that actions call."""
    return {name: getattr(LIBC, name) for name in C_FUNCTIONS}


def plain(step: str, call: str, arguments: tuple[Any, ...], tolerated: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """An `Action` as `perform` takes it, for those who load no class for it."""
    return step, call, arguments, "", tolerated, -1, "", 0


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
