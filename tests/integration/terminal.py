"""A program on a pseudo-terminal, typed at and read from as by a person."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from fcntl import ioctl

from tests.system.patience import FACTOR

WAIT_S = 20.0 * FACTOR
ROWS, COLUMNS = 24, 120


class Terminal:
    """The person's side."""

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self.master = master
        self.process = process
        self.text = ""
        """All that was shown and not yet waited for."""

    def type(self, keys: str) -> None:
        """Press keys; `\\n` is Enter, `\\x03` Ctrl-C."""
        os.write(self.master, keys.encode())

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.master)
        self.master = -1

    async def sees(self, wanted: str) -> str:
        """Wait until a text is shown; gives what was shown up to its end. Fails with what was shown instead."""
        try:
            async with asyncio.timeout(WAIT_S):
                while wanted not in self.text:
                    self.text += await self.shown()
        except (TimeoutError, EOFError):
            raise AssertionError(f"waited in vain for {wanted!r}, saw {self.text!r}") from None
        before, _, self.text = self.text.partition(wanted)
        return before + wanted

    async def ends(self) -> int:
        """Wait for the end of the program; gives its exit status. What it still says is in `text`."""
        async with asyncio.timeout(WAIT_S):
            with suppress(EOFError):
                while True:
                    self.text += await self.shown()
            return await self.process.wait()

    async def shown(self) -> str:
        """What comes next on the screen; raises EOFError once nothing will."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self.master, readable.set)
        try:
            await readable.wait()
            data = os.read(self.master, 65_536)
        except OSError:  # EIO: nobody has the other side open any more (pty(7))
            data = b""
        finally:
            loop.remove_reader(self.master)
        if not data:
            raise EOFError
        return data.decode(errors="replace").replace("\r\n", "\n")


@asynccontextmanager
async def on_terminal(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> AsyncIterator[Terminal]:
    """A program on a terminal of its own; ended at last."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    terminal = Terminal(master, process)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        if terminal.master >= 0:
            terminal.hang_up()
