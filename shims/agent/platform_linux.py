"""What the agent knows of Linux: who this guest is, where its line is, how its processes are seen.

An agent for another system is this module and `interfaces_linux` written anew.
"""

from __future__ import annotations

import fcntl
import os
import struct

from shims.agent.line.wire import sendable

OS = "linux"
DEFAULT_PATHS = ("/cc", "/dev/minibus/cc", "/dev/virtio-ports/cc")
"""Where the line to the server may be."""
DEFAULT_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""For programs, where the environment has no PATH; as login(1) has it for root."""
PLACES = ("/tmp/miniccc", "/run/miniccc", "/var/tmp/miniccc", "/dev/shm/miniccc")  # noqa: S108  made with care
"""Where the agent may keep its files, best first."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i586": "386", "armv7l": "arm"}
"""The names that users of filters know are those of Go."""
_DMI_UUID = "/sys/devices/virtual/dmi/id/product_uuid"
_HEXADECIMAL = frozenset("0123456789abcdef")
_TCGETS, _TCSETS = 0x5401, 0x5402
_FIONREAD = 0x541B


def _read(path: str, limit: int = 65536) -> str:
    """The beginning of a small file, empty if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(fd, limit).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def checked_uuid(text: str) -> str:
    """In the usual form, or empty if it is none."""
    text = text.strip().lower()
    parts = text.split("-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or not _HEXADECIMAL.issuperset("".join(parts)):
        return ""
    return text


def guest_uuid() -> str:
    """Of this guest, from whoever tells it; empty if nobody does.

    A container sees the kernel command line and the DMI table of its host, so its own file comes first.
    """
    words = [word.partition("=") for word in _read("/proc/cmdline").split()]
    from_kernel = next((value for name, _, value in words if name == "minibus.uuid"), "")
    candidates = (os.environ.get("MINIBUS_UUID", ""), _read("/etc/minibus/uuid"), from_kernel, _read(_DMI_UUID))
    return next((uuid for uuid in map(checked_uuid, candidates) if uuid), "")


def boot_id() -> str:
    """Differs after each boot of the guest; of a container, after each start of its process 1.

    Without /proc nobody can tell. Then it is always the same, because running a command twice would be worse than not
    running it after a reboot.
    """
    started = _read("/proc/1/stat").rpartition(")")[2].split()
    kernel = _read("/proc/sys/kernel/random/boot_id").strip()
    return f"{kernel}/{started[19]}" if len(started) > 19 else kernel or "unknown"


def hostname() -> str:
    """As the kernel has it, to which any bytes are a name."""
    return sendable(os.uname().nodename)


def describe() -> dict[str, str]:
    """Host name, architecture, system, release."""
    name = os.uname()
    arch = _ARCHITECTURES.get(name.machine, name.machine)
    return {"hostname": hostname(), "arch": arch, "os": OS, "release": name.release}


def make_raw(fd: int) -> None:
    """If `fd` is a terminal (a serial port of old), let all bytes pass as they are (termios(3), cfmakeraw)."""
    buffer = bytearray(64)
    try:
        fcntl.ioctl(fd, _TCGETS, buffer)
    except OSError:
        return  # a virtio port is no terminal
    flags = list(struct.unpack_from("4I", buffer))
    flags[0] &= ~0o2753  # IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
    flags[1] &= ~0o1  # OPOST
    flags[2] = (flags[2] & ~0o460) | 0o60  # CSIZE PARENB; CS8
    flags[3] &= ~0o100113  # ECHO ECHONL ICANON ISIG IEXTEN
    struct.pack_into("4I", buffer, 0, *flags)
    fcntl.ioctl(fd, _TCSETS, bytes(buffer))


def bytes_waiting(fd: int) -> int:
    """In a pipe that is read."""
    buffer = bytearray(4)
    fcntl.ioctl(fd, _FIONREAD, buffer)
    return int.from_bytes(buffer, "little")


def children() -> list[int]:
    """Of this process; empty where the kernel does not say."""
    return [int(word) for word in _read("/proc/self/task/" + str(os.getpid()) + "/children", 1 << 20).split()]
