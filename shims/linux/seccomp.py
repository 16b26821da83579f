"""Which system calls containers may not make (seccomp(2)), compiled by libseccomp."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from shims.linux.process import CLONE_NEWUSER

REFUSED: Final = (
    # A new user namespace gives all capabilities back (see also clone and unshare below); joining another needs no new.
    "setns",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    # Keys are not kept apart by any namespace that containers get.
    "keyctl",
    "add_key",
    "request_key",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    # With CAP_DAC_READ_SEARCH it opens any file of the host's file systems by number.
    "open_by_handle_at",
    "swapon",
    "swapoff",
    "quotactl",
    "quotactl_fd",
    "acct",
    "iopl",
    "ioperm",
    # A large part of the kernel that few programs need, and they do without.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    # The host's kernel log, which not every host keeps from its users.
    "syslog",
)
"""Answered with EPERM."""

_OTHER_ARCHES: Final = {"x86_64": ("X86", "X32"), "aarch64": ("ARM",)}

_BINARY_TREE: Final = 2  # SCMP_FLTATR_CTL_OPTIMIZE, seccomp_attr_set(3)


def compile_filter() -> bytes:
    """The filter as BPF code, native and 32-bit programs included.

    Raises ImportError, RuntimeError or OSError with the reason where libseccomp is missing or too old.
    """
    import pyseccomp  # loads libseccomp, which only the process that compiles should carry

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    with contextlib.suppress(OSError):  # libseccomp before 2.5; as a tree it installs in half the time (measured)
        rules.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    for arch in _OTHER_ARCHES.get(os.uname().machine, ()):
        rules.add_arch(getattr(pyseccomp.Arch, arch))
    for name in REFUSED:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) != -1:  # -1: newer than the library
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    new_user = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER)
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", new_user)
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "unshare", new_user)
    # The flags of clone3 are behind a pointer, where a filter cannot look; the C library falls back to clone.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
