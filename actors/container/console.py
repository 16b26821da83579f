"""One console: reads a container's pty master always, shows what it says to all viewers, types what they type.

A container whose console nobody reads stands still once the pty's buffer is full, so it is read whoever watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import termios

from actors.container.console_poller import Poller
from actors.container.console_sockets import Viewer
from shims.files.scroll_back import ScrollBack

ROWS, COLUMNS = 24, 80
"""Size of the window until a viewer says otherwise."""
REOPEN_S = 1.0
CHUNK = 4096
"""Bytes a pty gives at most in one read (drivers/tty/n_tty.c)."""
INPUT_BYTES = 16 * 1024
"""What waits for a container that does not read what is typed; viewers have to wait beyond that."""
LAST_READS = 64
"""Of a container that has ended: more than a pty's buffers hold."""


class Console:
    """See the module. Owns the master and the scroll-back's file."""

    def __init__(self, master: int, scroll_back: ScrollBack, poller: Poller) -> None:
        self.scroll_back = scroll_back
        self.ended = False
        self.master = master
        self._poller = poller
        self._viewers: set[Viewer] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_dismissed = False
        self._input = bytearray()
        self._events = 0
        """What the master is watched for."""
        self._reopening: asyncio.TimerHandle | None = None
        os.set_blocking(master, False)
        with contextlib.suppress(termios.error):
            if termios.tcgetwinsize(master) == (0, 0):
                termios.tcsetwinsize(master, (ROWS, COLUMNS))
        self._look_out()

    # --- what viewers want

    @property
    def viewers(self) -> int:
        """How many are connected."""
        return len(self._viewers)

    def welcome(self, connection: socket.socket) -> None:
        """Someone has connected; is shown the scroll-back first."""
        viewer = Viewer(connection, self, self._poller, self._viewers.discard)
        if not viewer.is_gone:
            self._viewers.add(viewer)

    async def until_more(self, offset: int, timeout_s: float) -> None:
        """Wait until there are bytes beyond an offset of the stream, or the console has ended, or time is over."""
        if not timeout_s > 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.scroll_back.end <= offset and not self._is_dismissed:
                    await self._news()

    async def _news(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def room(self) -> int:
        """How many bytes of input it takes now."""
        return INPUT_BYTES - len(self._input)

    def type(self, data: bytes) -> int:
        """Type, as far as there is room; how many bytes have been taken."""
        taken = data[: self.room()]
        self._input += taken
        self._type_on()
        return len(taken)

    def type_for(self, viewer: str, position: int, data: bytes) -> int:
        """Type what follows the first `position` bytes of a viewer on the bus; how many of his are typed then.

        Nothing of it is kept here: what is said to be typed has reached the terminal.
        """
        if not data or self._input:
            return position
        self.scroll_back.note_typed(viewer, position + len(data))  # before: rather lost in a crash than typed twice
        try:
            written = os.write(self.master, data)
        except BlockingIOError:
            written = 0
        except OSError:
            written = len(data)  # there is no terminal any more
        if written < len(data):
            self.scroll_back.note_typed(viewer, position + written)
        return position + written

    def resize(self, rows: int, columns: int) -> None:
        """Set the window's size; the programs in front are sent SIGWINCH. Raises OSError."""
        try:
            termios.tcsetwinsize(self.master, (rows, columns))
        except termios.error as error:
            raise OSError(*error.args) from None

    # --- the end

    def end(self) -> None:
        """The container has ended: take its last words, show them, let everybody go."""
        for _ in range(LAST_READS):
            if not self._read():
                break
        self.ended = True
        self.close()

    def close(self) -> None:
        """Let go of everything; copies of the master elsewhere keep the terminal open."""
        self.dismiss()
        for viewer in tuple(self._viewers):
            viewer.close()
        if self._reopening is not None:
            self._reopening.cancel()
        self._poller.unwatch(self.master)
        os.close(self.master)
        self.scroll_back.close()

    def dismiss(self) -> None:
        """Let those go who wait for more, and nobody wait any more."""
        self._is_dismissed = True
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    # --- the terminal

    def _look_out(self) -> None:
        if self._reopening is not None:
            return
        events = select.EPOLLIN | (select.EPOLLOUT if self._input else 0)
        if events != self._events:
            self._events = events
            self._poller.watch(self.master, events, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._type_on()
        if events & ~select.EPOLLOUT and not self._read():
            self._reopen_later()

    def _read(self) -> bool:
        """Take what it says; False if nobody has the other end open, or there is nothing."""
        try:
            data = os.read(self.master, CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # EIO, see pty(7)
            return False
        self.scroll_back.append(data)
        for viewer in tuple(self._viewers):
            viewer.update()
        self._wake()
        return bool(data)

    def _reopen_later(self) -> None:
        """Init may open its console again; until then the kernel would say all the time that there is an end."""
        self._poller.unwatch(self.master)
        self._events = 0
        self._reopening = asyncio.get_running_loop().call_later(REOPEN_S, self._reopen)

    def _reopen(self) -> None:
        self._reopening = None
        self._look_out()

    def _type_on(self) -> None:
        was_full = self.room() == 0
        while self._input:
            try:
                written = os.write(self.master, self._input[:CHUNK])
            except BlockingIOError:
                break
            except OSError:
                self._input.clear()  # there is no terminal any more
                break
            del self._input[:written]
        self._look_out()
        if was_full and self.room():
            for viewer in tuple(self._viewers):
                viewer.update()
