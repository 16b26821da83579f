"""Descriptors that travel with packets (SCM_RIGHTS, unix(7))."""

from __future__ import annotations

import array
import contextlib
import os
import socket


def descriptor(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The first descriptor of a packet, -1 if there is none; any others are closed."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    for extra in fds[1:]:
        close_descriptor(extra)
    return fds[0] if fds else -1


def close_descriptor(fd: int) -> None:
    """Close it, unless it is none."""
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)
