"""Has the system call filter compiled by a process of its own.

libseccomp and what its binding imports would stay in the warden's memory for good, and every container is cloned from
that memory.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from shims.linux.seccomp import compile_filter
from shims.linux.seccomp_program import kernel_filters

_COMPILED: Final = b"C"
_FAILED: Final = b"F"
_NO_KERNEL: Final = b"this kernel cannot; boot one with CONFIG_SECCOMP_FILTER"


class FilterCompiler:
    """Starts compiling at once; `result` waits for it, and need not if `fileno` is ready to be read."""

    def __init__(self) -> None:
        self._pipe, pipe_in = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            _compile_into(pipe_in)
        os.close(pipe_in)

    def fileno(self) -> int:
        """The descriptor on which the program comes."""
        return self._pipe

    def result(self) -> tuple[bytes, str]:
        """The program, or the reason why there is none; to be called once."""
        data = b""
        while chunk := os.read(self._pipe, 65536):
            data += chunk
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        if data[:1] == _COMPILED:
            return data[1:], ""
        return b"", data[1:].decode("utf-8", "replace") or "the filter compiler died"


def _compile_into(pipe: int) -> None:
    try:
        try:
            data = _COMPILED + compile_filter() if kernel_filters() else _FAILED + _NO_KERNEL
        except (ImportError, RuntimeError, OSError) as error:
            data = _FAILED + f"{error}; run `apt-get install libseccomp2`".encode("utf-8", "replace")
        except Exception as error:
            data = _FAILED + str(error).encode("utf-8", "replace")
        os.write(pipe, data)
    finally:
        os._exit(0)
