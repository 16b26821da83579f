"""What the first process of a container does between clone and exec.

It runs in its new namespaces as PID 1 and as a copy of the cloner, carries out the steps of the set-up, says "ready"
and waits at the gate. A step that fails is reported as one sentence and ends the process, and with it everything it
made, because all of it lives in its namespaces.
"""

from __future__ import annotations

import marshal
import os
import sys

from shims.container.setup.init_program import BadInitError
from shims.container.setup.perform import ActionError, perform, plain
from shims.container.setup.preinit import PreinitError
from shims.linux.process import CLONE_NEWNET

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, NoReturn


REPORT: Final = 3
GATE: Final = 4
USER_NAMESPACE: Final = 5
"""Descriptors of the new process. The cloner keeps these numbers out of use, and has the last one open itself."""

READY: Final = b"R"
"""First byte of a report: built; the warnings follow, a line each."""
FAILED: Final = b"E"
"""First byte of a report: a sentence follows."""
PREINIT_STARTED: Final = b"P"
"""First byte of a report: preinit has been started."""
MAX_REPORT: Final = 4000
"""Bytes; a pipe takes up to 4096 as one piece (pipe(7))."""


def build(calls: Mapping[str, Callable[..., int]], script: bytes, report: int, gate: int, network: int) -> NoReturn:
    """Build the container, wait at the gate, become its init.

    `script` is a marshalled tuple: the set-up in parts, each a marshalled tuple of actions; actions before the exec,
    argument vector of init, warnings so far. `report` and `gate` are the pipes to the warden, `network` is the network
    namespace to be in, or negative if it has come with the clone.
    """
    # From here on the root may be the container's: nothing may be imported from it.
    sys.meta_path.clear()
    try:
        os.dup2(report, REPORT, inheritable=False)
        os.dup2(gate, GATE, inheritable=False)
        if network >= 0:
            perform((_enter(network),), calls)
        set_up, before_exec, init, warnings = marshal.loads(script)  # noqa: S302  it comes from the warden
        warnings = list(warnings)
        for part in set_up:
            warnings += perform(marshal.loads(part), calls)  # noqa: S302
        os.write(REPORT, READY + "\n".join(warnings).encode()[:MAX_REPORT])
        # End of file: the warden is gone, and nobody may start what was not started.
        if not os.read(GATE, 1):
            os._exit(0)
        perform(before_exec, calls)
        os.execve(init[0], init, {})  # noqa: S606  there is no shell: this is the container's init
    except BaseException as error:
        # Should the pipe be broken, the warden learns from the exit status that something went wrong.
        os.write(REPORT, FAILED + describe(error).encode("utf-8", "replace")[:MAX_REPORT])
    finally:
        os._exit(1)


def _enter(network: int) -> tuple[Any, ...]:
    return plain("network namespace", "setns", (network, CLONE_NEWNET))


def describe(error: BaseException) -> str:
    """One sentence for what went wrong."""
    if isinstance(error, (ActionError, BadInitError, PreinitError)):
        return str(error)
    if isinstance(error, OSError):
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return ": ".join(part for part in ("Exec", where, error.strerror) if part)
    return f"set-up: {type(error).__name__}: {error}"
