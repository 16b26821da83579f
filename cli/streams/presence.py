"""Whether minibus is there, for programs that stay connected to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from bus.errors import UnreachableError
from bus.node.presence import is_running
from cli.streams.running import running

T = TypeVar("T")

LOOK_S = 1.0
GONE_S = 10.0
"""How long node and broker may be away, as they are in a restart, before one gives up."""


async def while_there(base: Path, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; ends it and raises UnreachableError when minibus has ended and does not come back."""
    async with running(work) as task, running(_until_gone(base)) as gone:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await gone
        return await task


async def _until_gone(base: Path) -> None:
    """Raise UnreachableError when minibus has ended and does not come back."""
    loop = asyncio.get_running_loop()
    seen_s = loop.time()
    while loop.time() - seen_s < GONE_S:
        if is_running(base):
            seen_s = loop.time()
        await asyncio.sleep(LOOK_S)
    raise UnreachableError(f"minibus does not run on {base} any more")
