"""Stdin and stdout of programs that copy bytes for as long as they live; either may be closed, or not blocking."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import stat
import sys

STDIN = 0
STDOUT = 1


async def until_unread() -> None:
    """Wait until nobody can read what is printed any more; for ever if stdout is no pipe, which alone tells."""
    unread = asyncio.Event()
    is_pipe = sys.stdout is not None and stat.S_ISFIFO(os.fstat(STDOUT).st_mode)
    if not is_pipe or fcntl.fcntl(STDOUT, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY:
        await unread.wait()
    loop = asyncio.get_running_loop()
    loop.add_reader(STDOUT, unread.set)  # epoll(7) tells of EPOLLERR whatever it was asked
    try:
        await unread.wait()
    finally:
        loop.remove_reader(STDOUT)


def receive(size_bytes: int) -> bytes:
    """More of stdin, empty at its end or if there is none."""
    while sys.stdin is not None:
        try:
            return os.read(STDIN, size_bytes)  # not sys.stdin: its lock would be held at the end of the program
        except BlockingIOError:
            select.select([STDIN], [], [])
        except OSError:
            break
    return b""


def print_all(data: bytes) -> bool:
    """Write all of it to stdout; False if nobody takes it. Raises OSError for what is wrong with a file."""
    left = memoryview(data if sys.stdout is not None else b"")
    while left:
        try:
            left = left[os.write(STDOUT, left) :]
        except BlockingIOError:
            select.select([], [STDOUT], [])
        except BrokenPipeError:
            return False
    return sys.stdout is not None
