"""A compiled system call filter and how a process puts it on itself (seccomp(2))."""

from __future__ import annotations

import ctypes
import errno

from shims.linux.libc import LIBC_HOLDING_LOCK as LIBC

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8  # struct sock_filter


def kernel_filters() -> bool:
    """Whether the kernel has filters; asked for one at no address, it says which of both is wrong (prctl(2))."""
    LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class SeccompProgram:
    """A filter, ready to be installed."""

    def __init__(self, program: bytes) -> None:
        if not program or len(program) % _INSTRUCTION_BYTES:
            raise ValueError("a seccomp program is a whole number of instructions")
        self._code = ctypes.create_string_buffer(program, len(program))
        self._fprog = _SockFprog(len(program) // _INSTRUCTION_BYTES, ctypes.addressof(self._code))
        self._address = ctypes.c_void_p(ctypes.addressof(self._fprog))

    def install(self) -> int:
        """Filter this process and its children from now on; negative, with errno set, if the kernel refuses.

        It needs CAP_SYS_ADMIN, so that no_new_privs can stay off.
        """
        return int(LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._address, 0, 0))
