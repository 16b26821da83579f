"""What every container finds mounted, made and hidden; data only."""

from __future__ import annotations

import os
import stat
from typing import Final

from shims.linux import mount as m

_PLAIN: Final = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC

KERNEL_TREES: Final[dict[bytes, tuple[bytes, tuple[tuple[bytes, bytes | None], ...], int]]] = {
    b"/proc": (b"proc", (), _PLAIN),
    b"/dev": (
        b"tmpfs",
        ((b"mode", b"755"), (b"size", b"65536k"), (b"nr_inodes", b"65536")),
        m.MOUNT_ATTR_NOEXEC | m.MOUNT_ATTR_STRICTATIME,
    ),
    b"/sys": (b"sysfs", ((b"ro", None),), _PLAIN | m.MOUNT_ATTR_RDONLY),
}
"""path: (type, options, attributes of the mount)."""

MOUNTS_IN_DEV: Final = (
    (
        *(b"/dev/shm", b"tmpfs", b"tmpfs", m.MS_NOEXEC | m.MS_NOSUID | m.MS_NODEV),
        b"mode=1777,size=65536k,nr_inodes=65536",
    ),
    # Ptys are counted for the whole host (kernel.pty.max, 4,096 as a rule).
    (
        *(b"/dev/pts", b"pts", b"devpts", m.MS_NOEXEC | m.MS_NOSUID),
        b"newinstance,ptmxmode=666,gid=5,mode=620,max=256",
    ),
)
"""(path, source, type, flags, data), in this order. Without the numbers one guest could have all ptys of the host and,
where memory is not limited, fill it with the names of empty files."""

DEVICE_MODE: Final = stat.S_IFCHR | 0o666
DEVICES: Final = (
    (b"null", os.makedev(1, 3)),
    (b"zero", os.makedev(1, 5)),
    (b"full", os.makedev(1, 7)),
    (b"tty", os.makedev(5, 0)),
    (b"random", os.makedev(1, 8)),
    (b"urandom", os.makedev(1, 9)),
    (b"net/tun", os.makedev(10, 200)),
)
"""In /dev. No guest can make any itself: the kernel leaves that to the host's user namespace."""

SYMLINKS: Final = (
    (b"pts/ptmx", b"ptmx"),
    (b"/proc/self/fd", b"fd"),
    (b"/proc/self/fd/0", b"stdin"),
    (b"/proc/self/fd/1", b"stdout"),
    (b"/proc/self/fd/2", b"stderr"),
)
"""(what it says, where it is in /dev)."""

READ_ONLY_PATHS: Final = (b"/proc/sys", b"/proc/sysrq-trigger", b"/proc/irq", b"/proc/bus")
READ_ONLY_FLAGS: Final = m.MS_RDONLY | m.MS_NOEXEC | m.MS_NOSUID | m.MS_NODEV
MASKED_FILES: Final = (
    b"/proc/kcore",
    b"/proc/keys",
    b"/proc/latency_stats",
    b"/proc/timer_list",
    b"/proc/sched_debug",
)
"""They tell of processes and keys of the host, or of its memory."""
MASKED_DIRECTORIES: Final = (
    b"/proc/acpi",
    b"/proc/asound",
    b"/proc/dynamic_debug",
    b"/proc/fs",
    b"/proc/pressure",
    b"/proc/scsi",
    b"/sys/firmware",
    b"/sys/devices/virtual/powercap",
)
"""/proc/scsi removes disks from the host, /proc/pressure lets anybody have the kernel watch all of it, /proc/fs has
settings of file systems, /proc/dynamic_debug fills the kernel's log; the others tell about hardware. Masking takes one
mount, making read-only two."""

UUID_INSIDE: Final = b"/etc/minibus/uuid"
