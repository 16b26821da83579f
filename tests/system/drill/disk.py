"""A file system of its own for a base directory, which can be filled to the last byte and emptied again."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

SIZE_MIB = 96
MNT_DETACH = 2
CHUNK = 1 << 20
AGAIN_S = 0.02
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A tmpfs of `SIZE_MIB` on an empty directory; gives a base directory in it. Raises OSError."""
    if _libc.mount(b"drill", os.fsencode(path), b"tmpfs", 0, f"size={SIZE_MIB}m,mode=700".encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount a tmpfs on {path}")
    try:
        base = path / "base"
        base.mkdir(mode=0o700)
        yield base
    finally:
        if _libc.umount2(os.fsencode(path), MNT_DETACH):
            raise OSError(ctypes.get_errno(), f"cannot unmount {path}")


@contextlib.contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Not one byte is free in there, whatever becomes free meanwhile; it is given back at the end."""
    path = directory / "filler"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    emptied = threading.Event()

    def go_on() -> None:
        while not emptied.wait(AGAIN_S):
            _fill(fd)

    filler = threading.Thread(target=go_on, name="filler", daemon=True)
    try:
        _fill(fd)
        filler.start()
        yield
    finally:
        emptied.set()
        if filler.is_alive():
            filler.join()
        os.close(fd)
        path.unlink()


def _fill(fd: int) -> None:
    chunk = CHUNK
    while chunk:
        try:
            os.write(fd, bytes(chunk))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            chunk //= 2
