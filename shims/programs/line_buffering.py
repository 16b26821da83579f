"""Making programs hand on each line at once, although what they write to is no terminal.

The C library collects 4 KiB before it writes to a pipe. stdbuf(1) of GNU coreutils changes that by a library which it
has loaded before the program: this asks stdbuf which variables do that here. Python keeps buffers of its own.
"""

from __future__ import annotations

import asyncio
from typing import Final

from shims.programs import process

PROBE: Final = ("stdbuf", "-oL", "env", "-0")
PATIENCE_S: Final = 5.0
_PRELOAD: Final = "LD_PRELOAD"
_NAMES: Final = (_PRELOAD, "_STDBUF_O")
PYTHON: Final = {"PYTHONUNBUFFERED": "1"}


async def variables() -> dict[str, str]:
    """What to add to a program's environment. Raises `process.NotStartedError` if stdbuf is of no use here."""
    program = process.Program(PROBE, process.environment({}), process.CHUNK)
    try:
        outcome = await asyncio.wait_for(program.outcome(), PATIENCE_S)
    except TimeoutError:
        program.kill()
        raise process.NotStartedError(f"stdbuf had not ended after {PATIENCE_S:g} s") from None
    pairs = (entry.partition("=") for entry in outcome.stdout.decode("utf-8", "surrogateescape").split("\0"))
    found = {name: value for name, _, value in pairs if name in _NAMES}
    if outcome.exit_status or len(found) != len(_NAMES):
        said = outcome.stderr.decode("utf-8", "replace").strip()[:200]
        raise process.NotStartedError(f"stdbuf did not tell what it changes{f': {said}' if said else ''}")
    return found | PYTHON
