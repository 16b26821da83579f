"""Keeps leases for host taps: a child process for each, begun again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from actors.network.operations import Leased, NoLease
from bus.actor.step import Input
from bus.logs.logs import Log
from bus.paths import Context
from shims.programs import process

LEASE_S: Final = 20.0
"""How long somebody waits for the first address."""
AGAIN_S: Final = 2.0
MAX_LINE: Final = 4096
MODULE: Final = "shims.network.dhcp_client"


class LeaseCare:
    """See the module. `feed` takes what came of it."""

    def __init__(
        self,
        context: Context,
        log: Log,
        feed: Callable[[Input], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        self._directory = context.paths.run / "dhcp"
        self._log = log
        self._feed = feed
        self._spawn = spawn
        self._kept: dict[str, _Keeper] = {}

    def keep(self, tap: str, *, is_new: bool) -> None:
        """Begin with a tap."""
        self.end(tap, forget=is_new)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._kept[tap] = keeper = _Keeper(tap, self._file(tap), self._log, self._feed)
        self._spawn(keeper.run(), f"lease {tap}")
        if is_new:
            self._spawn(keeper.give_up(LEASE_S), f"no lease {tap}")

    def end(self, tap: str, *, forget: bool = True) -> None:
        """No more leases for a tap."""
        if (keeper := self._kept.pop(tap, None)) is not None:
            keeper.end()
        if forget:
            with contextlib.suppress(OSError):
                self._file(tap).unlink()

    def _file(self, tap: str) -> Path:
        return self._directory / f"{tap}.json"


class _Keeper:
    """One tap."""

    def __init__(self, tap: str, file: Path, log: Log, feed: Callable[[Input], None]) -> None:
        self._tap = tap
        self._file = file
        self._log = log
        self._feed = feed
        self._ended = asyncio.Event()
        self._decided = asyncio.Event()
        self._has_had_one = False
        self._program: process.Started | None = None
        self._refusal = ""

    def end(self) -> None:
        """Let the child end."""
        self._ended.set()
        if self._program is not None:
            self._program.kill()

    async def give_up(self, after_s: float) -> None:
        """Say so if no address has come by then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await self._decided.wait()
        if not self._ended.is_set() and not self._has_had_one:
            why = self._refusal or f"no DHCP server has given it an address within {after_s:g} seconds"
            self._feed(NoLease(tap=self._tap, message=f"dhcp error for {self._tap}: {why}"))

    async def run(self) -> None:
        """Children one after the other, until the tap goes."""
        try:
            while not self._ended.is_set():
                await self._child()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_S):
                        await self._ended.wait()
        finally:
            if self._program is not None:
                self._program.kill()
                self._program.wait()

    async def _child(self) -> None:
        argv = [sys.executable, "-m", MODULE, self._tap, str(self._file)]
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            # The other end of its input is ours alone: it ends when this process does, however that is.
            self._program = process.start(
                argv, process.environment({}), stdout=writing, stderr=process.NOWHERE, stdin=process.NEW_PIPE
            )
        except process.NotStartedError as error:
            os.close(reading)
            self._refusal = str(error)
            return
        finally:
            os.close(writing)
        await self._follow(self._program, reading)

    async def _follow(self, program: process.Started, reading: int) -> None:
        """Take what it tells until it ends."""
        ended, text = asyncio.Event(), bytearray()

        def take(data: bytes) -> bool:
            text.extend(data)
            *lines, rest = bytes(text).split(b"\n")
            text[:] = rest[-MAX_LINE:]
            for line in lines:
                self._told(line)
            return True

        reader = process.PipeReader(reading, take, ended.set)
        try:
            await ended.wait()
        finally:
            reader.close()
            if program.stdin is not None:
                program.stdin.close()
            program.kill()
            program.wait()
            self._program = None

    def _told(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        if "refused" in said:
            self._refusal = str(said["refused"])[:200]
            self._log.warn("lease_refused", tap=self._tap, what=self._refusal)
            self._decided.set()
        elif not self._ended.is_set():
            address = str(said.get("address", ""))
            if address:
                self._has_had_one = True
                self._decided.set()
            self._log.info("leased", tap=self._tap, address=address)
            self._feed(Leased(tap=self._tap, address=address))
