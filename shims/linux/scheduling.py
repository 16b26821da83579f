"""How soon the scheduler gives a process its turn (sched(7), sched_setattr(2))."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from shims.linux.libc import LIBC

SLICE_NS: Final = 100_000
"""The shortest that the kernel takes."""

_X86 = os.uname().machine == "x86_64"
_SYS_SCHED_SETATTR: Final = 314 if _X86 else 274  # include/uapi/asm-generic/unistd.h
_SYS_SCHED_GETATTR: Final = 315 if _X86 else 275
_ATTRIBUTES: Final = struct.Struct("IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period (include/uapi/linux/sched/types.h)"""


def be_prompt() -> None:
    """Ask for short slices of processor time: who works for a moment and waits again then has its turn sooner.

    Since Linux 6.12 a process that wakes up takes the place of one with longer slices at once, and not when that one's
    has ended. It gets no more time than before. Threads and programs that are started later inherit it. Earlier
    kernels take no notice, and one that refuses leaves all as it was.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return  # somebody has decided otherwise
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SLICE_NS, 0, 0)
    LIBC.syscall(_SYS_SCHED_SETATTR, 0, attributes, 0)


def slice_ns(pid: int) -> int:
    """What a process has asked for, or the kernel's own; 0 from a kernel without slices. Raises OSError."""
    attributes = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if LIBC.syscall(_SYS_SCHED_GETATTR, pid, attributes, len(attributes), 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(_ATTRIBUTES.unpack(attributes.raw)[5])
