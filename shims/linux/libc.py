"""The C library, loaded once; the two ways to call it, and how its errors become `OSError`."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from typing import Any


LIBC: Any = ctypes.CDLL(None, use_errno=True)
"""Releases the interpreter lock during a call: for everything that may block."""

LIBC_HOLDING_LOCK: Any = ctypes.PyDLL(None, use_errno=True)
"""Keeps the interpreter lock: for calls that return twice."""

PRCTL: Any = LIBC.prctl
"""prctl(2) with all five arguments, which glibc wants as unsigned long."""
PRCTL.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def raise_errno(path: str | bytes | None = None) -> None:
    """Raise the `OSError` of the call just made; `path` becomes its `filename`."""
    number = ctypes.get_errno()
    if path is None:
        raise OSError(number, os.strerror(number))
    raise OSError(number, os.strerror(number), os.fsdecode(path))


def encode(path: str | bytes) -> bytes:
    """`path` as the kernel takes it; bytes, prepared beforehand on hot paths, pass through."""
    return path if isinstance(path, bytes) else os.fsencode(path)
