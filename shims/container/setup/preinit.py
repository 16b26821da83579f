"""The preinit program: run once by the set-up, with all rights and the host's files, inside the new namespaces."""

from __future__ import annotations

import os

from shims.linux.process import describe_status

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from typing import Final


MAX_OUTPUT: Final = 2000
"""Bytes of its output that a refusal quotes: the last ones, where programs say why they gave up."""


class PreinitError(Exception):
    """It could not be run or failed; one sentence with its output."""


def run_preinit(path: str) -> int:
    """Run it to its end with `path` as its only argument: 0, or raises `PreinitError` unless it exits with that."""
    output = os.memfd_create("preinit", os.MFD_CLOEXEC)  # a file: a daemon it leaves behind must not hold us up
    try:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
        try:
            pid = os.posix_spawn(path, [path], os.environ, file_actions=actions)
        except OSError as error:
            raise PreinitError(f"containerPreinit: {path}: {error.strerror}") from None
        finally:
            os.close(null)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            raise PreinitError(f"containerPreinit: {describe_status(status)}: {_tail(output)}".rstrip(": "))
        return 0
    finally:
        os.close(output)


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    text = os.pread(fd, MAX_OUTPUT, max(0, size - MAX_OUTPUT))
    return " ".join(text.decode("utf-8", "replace").split())
