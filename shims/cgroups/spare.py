"""One descriptor kept for the moment when there are no more: whoever owns containers must still be able to end them.

A process whose descriptors have run out can open nothing, not even the file that thaws or kills a container. `keep`
holds one back; `opened` gives it up for as long as a small file takes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

_spare = -1


def keep() -> None:
    """Hold one back from now on, as soon as there is one."""
    global _spare
    if _spare < 0:
        with contextlib.suppress(OSError):
            _spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def opened(path: str, flags: int) -> Iterator[int]:
    """A descriptor of the file, closed at the end; raises OSError."""
    try:
        fd = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EMFILE or _spare < 0:
            raise
        with _spent():
            fd = os.open(path, flags | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _spent() -> Iterator[None]:
    global _spare
    os.close(_spare)
    _spare = -1
    try:
        yield
    finally:
        keep()
