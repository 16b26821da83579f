"""A console with a real pty, the guest's end of it, and those who watch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import socket
import time
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from actors.container.console import Console
from actors.container.console_poller import Poller
from bus.logs.logs import Log
from shims.files.scroll_back import ScrollBack

PATIENCE_S = 20.0


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.002)


class Guest:
    """A console, and the guest's end of its terminal."""

    def __init__(self, directory: Path, poller: Poller) -> None:
        master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.slave, False)
        self.console = Console(master, ScrollBack(directory / "scroll-back"), poller)
        self.poller = poller
        self._typed = b""

    def leave(self) -> None:
        """Close the guest's end."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def says(self, data: bytes) -> None:
        """Write to the terminal."""
        os.write(self.slave, data)

    async def said(self, data: bytes) -> None:
        """Write, however long, and wait until all of it has arrived."""
        end = self.console.scroll_back.end + len(data)
        while data:
            try:
                data = data[os.write(self.slave, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
        await until(lambda: self.console.scroll_back.end >= end, "all to arrive")

    def typed(self) -> bytes:
        """All that has been typed at it."""
        try:
            while data := os.read(self.slave, 65_536):
                self._typed += data
        except BlockingIOError:
            pass
        return self._typed

    def viewer(self, buffer_bytes: int = 0) -> Watcher:
        """Somebody who has connected."""
        ours, theirs = socket.socketpair()
        if buffer_bytes:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        theirs.setblocking(False)
        self.console.welcome(theirs)
        return Watcher(ours)


@contextlib.asynccontextmanager
async def living_guest(directory: Path) -> AsyncIterator[Guest]:
    """A guest with its console, both gone afterwards."""
    poller = Poller(Log("test"))
    guest = Guest(directory, poller)
    try:
        yield guest
    finally:
        guest.leave()
        if not guest.console.ended:
            guest.console.close()
        poller.close()


class Watcher:
    """The other end of a viewer's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.seen = b""
        self.ended = False

    def look(self) -> bytes:
        """Take what is there; gives all that was seen so far."""
        try:
            while data := self.sock.recv(65_536):
                self.seen += data
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True
        return self.seen

    async def sees(self, text: bytes) -> None:
        """Wait for it."""
        await until(lambda: text in self.look(), f"{text!r}, saw {self.seen[-200:]!r}")
