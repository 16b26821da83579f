"""What every container finds mounted, made and hidden; data only."""

from __future__ import annotations

import os
import stat
from typing import Final

from shims.linux.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_STRICTATIME

DEFAULT_MOUNTS: Final = (
    (b"proc", b"/proc", b"proc", MS_NOEXEC | MS_NOSUID | MS_NODEV, None),
    (b"tmpfs", b"/dev", b"tmpfs", MS_NOEXEC | MS_STRICTATIME, b"mode=755"),
    (b"tmpfs", b"/dev/shm", b"tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, b"mode=1777,size=65536k"),
    (b"pts", b"/dev/pts", b"devpts", MS_NOEXEC | MS_NOSUID, b"newinstance,ptmxmode=666,gid=5,mode=620"),
    (b"sysfs", b"/sys", b"sysfs", MS_NOEXEC | MS_NOSUID | MS_NODEV | MS_RDONLY, None),
)
"""(source, target, type, flags, data), in this order."""

DEVICE_MODE: Final = stat.S_IFCHR | 0o666
DEVICES: Final = (
    (b"/dev/null", os.makedev(1, 3)),
    (b"/dev/zero", os.makedev(1, 5)),
    (b"/dev/full", os.makedev(1, 7)),
    (b"/dev/tty", os.makedev(5, 0)),
    (b"/dev/random", os.makedev(1, 8)),
    (b"/dev/urandom", os.makedev(1, 9)),
)

SYMLINKS: Final = (
    (b"/proc/self/fd", b"/dev/fd"),
    (b"/proc/self/fd/0", b"/dev/stdin"),
    (b"/proc/self/fd/1", b"/dev/stdout"),
    (b"/proc/self/fd/2", b"/dev/stderr"),
)
"""(what it says, where it is)."""

READ_ONLY_PATHS: Final = (b"/proc/sys", b"/proc/sysrq-trigger", b"/proc/irq", b"/proc/bus")
READ_ONLY_FLAGS: Final = MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV
MASKED_PATHS: Final = (b"/proc/kcore",)

UUID_INSIDE: Final = b"/etc/minibus/uuid"
