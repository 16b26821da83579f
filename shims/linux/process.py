"""Processes: clone3(2), prctl(2), signals, pseudo-terminals, start times."""

from __future__ import annotations

# Not `signal`, which makes enums of it: the process that clones has to stay small.
import _signal  # type: ignore[import-not-found]
import ctypes
import fcntl
import os
import struct

from shims.linux.libc import LIBC_HOLDING_LOCK, PRCTL, raise_errno

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from typing import Any, Final


# include/uapi/linux/sched.h
CLONE_PARENT: Final = 0x8000
CLONE_NEWNS: Final = 0x20000
CLONE_NEWCGROUP: Final = 0x2000000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWIPC: Final = 0x8000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
PR_SET_CHILD_SUBREAPER: Final = 36

SYS_CLOSE_RANGE: Final = 436

_SYS_CLONE3: Final = 435
_SYS_KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219}.get(os.uname().machine, -1)
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_SYS_RT_SIGACTION: Final = 13 if os.uname().machine == "x86_64" else 134  # include/uapi/asm-generic/unistd.h
_KERNEL_SIGACTION: Final = bytes(32)  # SIG_DFL, no flags, no mask
_SIGNALS: Final = range(1, 65)
_SIGSET_SIZE: Final = 8
_SIGCHLD: Final = 17
_CLONE_ARGS_SIZE: Final = 88  # struct clone_args up to `cgroup`, kernel 5.7

_TIOCSPTLCK: Final = 0x40045431
_TIOCGPTN: Final = 0x80045430

_clone: Any = LIBC_HOLDING_LOCK.syscall


def clone(flags: int, *, parent: bool = False) -> int:
    """Fork into the new namespaces of `flags`: the pid in the parent, 0 in the child.

    With `parent`, the new process is not a child of the caller but of the caller's parent.

    Only for a process without other threads, and for a child that does nothing but make system calls until it executes
    something: the interpreter's fork hooks are not run, because all they would do is repair locks that other threads
    may have held, and the memory they touch costs each child 60 page faults.
    """
    # With CLONE_PARENT the signal at its end is the caller's own, and clone3(2) wants none here.
    how = (CLONE_PARENT | flags, 0) if parent else (flags, _SIGCHLD)
    args = (ctypes.c_uint64 * 11)(how[0], 0, 0, 0, how[1])
    pid = int(_clone(_SYS_CLONE3, ctypes.byref(args), _CLONE_ARGS_SIZE))
    if pid < 0:
        raise_errno()
    return pid


def set_name(name: bytes) -> None:
    """What the process is called in listings; up to 15 bytes."""
    if LIBC_HOLDING_LOCK.prctl(PR_SET_NAME, name, 0, 0, 0) != 0:
        raise_errno()


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)."""
    result = int(PRCTL(option, arg2, arg3, arg4, arg5))
    if result < 0:
        raise_errno()
    return result


def default_signals() -> None:
    """Give every signal its default action; a child would go on ignoring what this process ignores, even after execve.

    By the bare system call: the C library refuses the two real-time signals that it keeps for itself (32 and 33), and
    programs not written in C start their children with those ignored.
    """
    for number in _SIGNALS:  # SIGKILL and SIGSTOP say EINVAL
        LIBC_HOLDING_LOCK.syscall(_SYS_RT_SIGACTION, number, _KERNEL_SIGACTION, None, _SIGSET_SIZE)


def leave_session_keyring() -> None:
    """From now on this process and its children have an empty session keyring (session-keyring(7)).

    Without keys in the kernel there is nothing to leave.
    """
    LIBC_HOLDING_LOCK.syscall(_SYS_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None)


def open_pty() -> tuple[int, bytes]:
    """A new pseudo-terminal: its master, close-on-exec and non-blocking, and the path of its unlocked slave."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        (number,) = struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
    except OSError:
        os.close(master)
        raise
    return master, b"/dev/pts/%d" % number


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)); 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(1024)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The second field, the name, may hold spaces and parentheses: count from the last one.
    return int(text[text.rindex(b")") + 2 :].split(b" ", 20)[19])


def open_pidfd(pid: int, ticks: int) -> int:
    """A pidfd of the process that had `pid` since `ticks`.

    Raises ProcessLookupError if it is gone, even if its pid has been given to another process.
    """
    fd = os.pidfd_open(pid)
    if start_ticks(pid) != ticks:
        os.close(fd)
        raise ProcessLookupError(f"process {pid} is not the one that started at tick {ticks}")
    return fd


def describe_status(status: int) -> str:
    """A wait status in the words that users of minimega know: `exit status 3`, `signal: killed`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"signal: {(_signal.strsignal(number) or str(number)).lower()}"
    return f"exit status {os.WEXITSTATUS(status)}"
