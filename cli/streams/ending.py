"""Programs that say goodbye when a signal ends them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *numbers: signal.Signals) -> T:
    """As `asyncio.run`. Each of these signals cancels the work and then ends the program, with the status of a shell.

    A handler that raises would do so wherever the program is, also inside the callback of a weak reference, where
    Python ignores it: asyncio has such callbacks for its tasks.
    """
    ended: list[int] = []

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end(number: int) -> None:
            ended.append(number)
            if task is not None:
                task.cancel()

        for number in numbers:
            loop.add_signal_handler(number, end, number)
        return await work

    for number in numbers:  # until the loop runs
        signal.signal(number, _terminated)
    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if ended:
            sys.exit(128 + ended[0])
        raise


def _terminated(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
