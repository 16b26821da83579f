"""Capability sets: capget(2), capset(2), the bounding and the ambient set (capabilities(7))."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Final

from shims.linux.libc import LIBC, PRCTL, raise_errno

CAPABILITIES: Final = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "AUDIT_CONTROL": 30,
    "SETFCAP": 31,
}
"""Those a container keeps, with their numbers in include/uapi/linux/capability.h."""

_VERSION_3: Final = 0x20080522
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4


def mask_of(names: Iterable[str]) -> int:
    """The bit mask of capability names."""
    return sum(1 << CAPABILITIES[name] for name in names)


CONTAINER_MASK: Final = mask_of(CAPABILITIES)


def permitted_mask() -> int:
    """The permitted set of this process."""
    header = struct.pack("Ii", _VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if LIBC.capget(header, data) != 0:
        raise_errno()
    words = struct.unpack("6I", data.raw)
    return int(words[1]) | int(words[4]) << 32


def known_numbers() -> range:
    """The numbers of all capabilities that this kernel has."""
    number = 0
    while PRCTL(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:  # EINVAL: beyond cap_last_cap
        number += 1
    return range(number)


class CapabilityDrop:
    """The calls that reduce all five sets of a process, prepared once so that a new container spends no time on it."""

    def __init__(self, keep: int = CONTAINER_MASK) -> None:
        # Asking for more than one has is EPERM: a host that withholds a capability withholds it from containers too.
        self.mask = mask = keep & permitted_mask()
        low, high = mask & 0xFFFFFFFF, mask >> 32
        header, sets = struct.pack("Ii", _VERSION_3, 0), struct.pack("6I", low, low, low, high, high, high)
        self.calls: tuple[tuple[str, tuple[object, ...]], ...] = (
            # Those as well that this process does not have: who enters a user namespace has all.
            *(("prctl", (_PR_CAPBSET_DROP, number, 0, 0, 0)) for number in known_numbers() if not mask >> number & 1),
            ("prctl", (_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)),
            ("capset", (header, sets)),
        )
        """(name of a function of the C library, its arguments): bounding set first, while that is still allowed."""
