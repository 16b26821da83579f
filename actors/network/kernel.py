"""The one thread that talks to the fabric: begun with the first operation, ended when the fabric is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bus.logs.logs import Log
from shims.network.base import Fabric

T = TypeVar("T")


class EndingError(Exception):
    """The actor ends: its successor does what is to be done."""


class Kernel:
    """Makes calls one after the other. A host without networks has neither the thread nor what it loads."""

    def __init__(self, make: Callable[[], Fabric], log: Log) -> None:
        self._make = make
        self._log = log
        self._fabric: Fabric | None = None
        """Changed by the thread alone, so that each call finds it as the one before has left it."""
        self._executor: ThreadPoolExecutor | None = None
        self._calls = 0
        self._is_ending = False
        self._lacks: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a fabric in use."""
        return self._fabric is not None

    async def run(self, work: Callable[[Fabric], T]) -> T:
        """Make calls; raises what they raise, FabricError if the fabric cannot be entered, EndingError after `end`."""
        return await self._in_thread(lambda: work(self._opened()), last=False)

    async def look(self, work: Callable[[Fabric], T]) -> T | None:
        """The same if the fabric is in use by then; None if it is not, and none is made."""
        return await self._in_thread(lambda: work(self._fabric) if self._fabric is not None else None, last=False)

    async def destroy(self) -> None:
        """Remove the fabric with all that is in it; the next call makes another. Raises FabricError."""
        await self._in_thread(self._destroy, last=False)

    async def end(self, *, destroy: bool) -> None:
        """Let go of the fabric for good; what is in it stays, unless it is to be destroyed. Raises FabricError."""
        self._is_ending = True
        if self._executor is not None:
            await self._in_thread(self._destroy if destroy else self._let_go)

    async def _in_thread(self, call: Callable[[], T], *, last: bool = True) -> T:
        if self._is_ending and not last:
            raise EndingError
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fabric")
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        finally:
            self._calls -= 1
            if not self._calls and self._fabric is None:
                self._executor.shutdown(wait=False)
                self._executor = None

    def _opened(self) -> Fabric:
        if self._fabric is None:
            fabric = self._make()
            for lack in fabric.open().lacks:
                if lack not in self._lacks:
                    self._lacks.add(lack)
                    self._log.warn("networks_lack", what=lack)
            self._fabric = fabric
        return self._fabric

    def _destroy(self) -> None:
        try:
            self._opened().destroy()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        fabric, self._fabric = self._fabric, None
        if fabric is not None:
            fabric.close()
