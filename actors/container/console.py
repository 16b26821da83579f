"""The consoles of containers: reads every pty master, keeps the last of what was said.

A container whose console nobody reads stands still once the pty's buffer is full, so they are always read. The node
holds a copy of each master, because closing the last one ends any init that uses its terminal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

SCROLL_BACK = 64 * 1024
"""Bytes kept per console, the oldest dropped first."""
REOPEN_S = 1.0
CHUNK = 4096
"""Bytes a pty gives at most in one read (drivers/tty/n_tty.c)."""


def store_name(vm_id: int) -> str:
    """Under which name the node keeps the copy."""
    return f"pty-{vm_id}"


class Consoles:
    """Pty masters by VM."""

    def __init__(self, *, store: Callable[[str, int], None], drop: Callable[[str], None]) -> None:
        self._store = store
        self._drop = drop
        self._masters: dict[int, int] = {}
        self._kept: dict[int, bytearray] = {}
        self._loop = asyncio.get_running_loop()

    def add(self, vm_id: int, master: int) -> None:
        """Take a new master, and give the node a copy."""
        self._store(store_name(vm_id), master)
        self._read_from(vm_id, master)

    def __contains__(self, vm_id: int) -> bool:
        return vm_id in self._masters

    def restore(self, stored: dict[str, int]) -> None:
        """Take the masters that the node handed back."""
        for name, master in stored.items():
            vm_id = name.removeprefix("pty-")
            if vm_id.isdecimal():
                self._read_from(int(vm_id), master)
            else:
                os.close(master)

    def end(self, vm_id: int) -> None:
        """The container has ended: close the master, keep what it said."""
        if vm_id in self._masters:
            self._close(vm_id)
            self._drop(store_name(vm_id))

    def drop(self, vm_id: int) -> None:
        """Forget all of it; harmless when there is none."""
        self.end(vm_id)
        self._kept.pop(vm_id, None)

    def scroll_back(self, vm_id: int) -> bytes:
        """The last of what the container said."""
        return bytes(self._kept.get(vm_id, b""))

    def close(self) -> None:
        """Stop reading; the node's copies keep the terminals open."""
        for vm_id in list(self._masters):
            self._close(vm_id)

    def _read_from(self, vm_id: int, master: int) -> None:
        self._close(vm_id)
        os.set_blocking(master, False)
        self._masters[vm_id] = master
        self._kept.setdefault(vm_id, bytearray())
        self._loop.add_reader(master, self._read, vm_id)

    def _read(self, vm_id: int) -> None:
        try:
            data = os.read(self._masters[vm_id], CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # EIO: nobody has the other end open now (pty(7)); init may open its console again later.
            self._loop.remove_reader(self._masters[vm_id])
            self._loop.call_later(REOPEN_S, self._read_again, vm_id, self._masters[vm_id])
            return
        kept = self._kept[vm_id]
        kept += data
        del kept[:-SCROLL_BACK]

    def _read_again(self, vm_id: int, master: int) -> None:
        if self._masters.get(vm_id) == master:
            self._loop.add_reader(master, self._read, vm_id)

    def _close(self, vm_id: int) -> None:
        master = self._masters.pop(vm_id, None)
        if master is not None:
            self._loop.remove_reader(master)
            os.close(master)
