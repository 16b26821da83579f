"""Calls that may block for ever, from an event loop that does not wait for them at its end."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class BlockingCalls:
    """One thread that makes one call after the other. Unlike `asyncio.to_thread`, it never keeps the program alive."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns, or raises. Who is cancelled does not learn what became of it."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((function, future))
        return await future

    def _run(self) -> None:
        while True:
            function, future = self._jobs.get()
            result, error = None, None
            try:
                result = function()
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
