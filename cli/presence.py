"""Whether minibus is there, for programs that stay connected to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bus.errors import UnreachableError
from bus.lock import holder

LOOK_S = 1.0
GONE_S = 10.0
"""How long node and broker may be away, as they are in a restart, before one gives up."""


async def until_gone(base: Path) -> None:
    """Raise UnreachableError when minibus has ended and does not come back."""
    locks = (base / "run" / "node.lock", base / "run" / "broker.lock")
    loop = asyncio.get_running_loop()
    seen_s = loop.time()
    while loop.time() - seen_s < GONE_S:
        if any(map(holder, locks)):
            seen_s = loop.time()
        await asyncio.sleep(LOOK_S)
    raise UnreachableError(f"minibus does not run on {base} any more")
