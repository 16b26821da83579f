"""What the first process of a container does between clone and exec.

It runs in its new namespaces as PID 1 and as a copy of the warden, carries out the steps of the set-up, says "ready"
and waits at the gate. A step that fails is reported as one sentence and ends the process, and with it everything it
made, because all of it lives in its namespaces.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from shims.container.action import Action, ActionError, perform
from shims.container.init_program import BadInitError
from shims.container.plan import Plan
from shims.container.preinit import PreinitError
from shims.container.steps import GATE, REPORT, before_exec, set_up

READY: Final = b"R"
"""First byte of a report: built; the warnings follow, a line each."""
FAILED: Final = b"E"
"""First byte of a report: a sentence follows."""
MAX_REPORT: Final = 4000
"""Bytes; a pipe takes up to 4096 as one piece (pipe(7))."""


class Script(NamedTuple):
    """Everything the process will do, worked out before it exists."""

    set_up: Sequence[Action]
    before_exec: Sequence[Action]
    init: tuple[bytes, ...]
    warnings: tuple[str, ...]


def script_of(plan: Plan) -> Script:
    """The script for a plan."""
    return Script(set_up(plan), before_exec(plan), plan.init, plan.warnings)


def build(script: Script, report: int, gate: int) -> NoReturn:
    """Build the container, wait at the gate, become its init. `report` and `gate` are the warden's pipes."""
    try:
        os.dup2(report, REPORT, inheritable=False)
        os.dup2(gate, GATE, inheritable=False)
        warnings = [*script.warnings, *perform(script.set_up)]
        os.write(REPORT, READY + "\n".join(warnings).encode()[:MAX_REPORT])
        # End of file: the warden is gone, and nobody may start what was not started.
        if not os.read(GATE, 1):
            os._exit(0)
        perform(script.before_exec)
        os.execve(script.init[0], script.init, {})  # noqa: S606  there is no shell: this is the container's init
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(REPORT, FAILED + describe(error).encode("utf-8", "replace")[:MAX_REPORT])
    finally:
        os._exit(1)


def describe(error: BaseException) -> str:
    """One sentence for what went wrong."""
    if isinstance(error, (ActionError, BadInitError, PreinitError)):
        return str(error)
    if isinstance(error, OSError):
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return ": ".join(part for part in ("Exec", where, error.strerror) if part)
    return f"set-up: {type(error).__name__}: {error}"
