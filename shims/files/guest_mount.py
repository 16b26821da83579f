"""File systems of guests in the host's directories: FUSE mounts whose requests somebody else answers.

The mount is by mount(2), without a helper. It is for root alone, no symbolic link in it is followed, nothing in it is
executed, and neither setuid bits nor device nodes count, because a guest says what is there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bus.errors import BusError, ConflictError, InvalidError, NotFoundError, UnavailableError
from shims.agent.mounts.fuse import MAX_IO
from shims.cgroups.hierarchy import TOP
from shims.linux import mountinfo
from shims.linux.libc import LIBC
from shims.linux.mount import MNT_DETACH, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW, UMOUNT_NOFOLLOW

DEVICE: Final = "/dev/fuse"
KIND: Final = "fuse.minibus"
LINKS_STAY: Final = "nosymfollow"
"""How mountinfo shows that links are not followed (Linux 5.10)."""
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_CAP_SYS_ADMIN: Final = 21
_FLAGS: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW


def source_of(tag: str, vm_id: int) -> str:
    """What a new mount of a guest is called in mountinfo: no other is, so that an end is never that of the next one.

    `nuke` goes by its beginning.
    """
    return f"{TOP}_{tag}_cc{vm_id}_{secrets.token_hex(3)}"


def is_of(tag: str) -> Callable[[str], bool]:
    """Whether a source is one of this base directory."""
    beginning = f"{TOP}_{tag}_cc"
    return lambda source: source.startswith(beginning)


def mount(path: str, source: str, own: tuple[Path, ...]) -> tuple[int, str]:
    """Mount on an empty directory; returns the kernel's end and the path without symbolic links.

    Not below minibus's `own` directories: who serves the mount works there, and would wait for itself.

    Blocks while the file system that the directory is on does. Raises BusError with one sentence.
    """
    with contextlib.ExitStack() as stack:
        directory = _directory(path)
        stack.callback(os.close, directory)
        real = os.readlink(f"/proc/self/fd/{directory}")
        _check(directory, real, path, own)
        device = _device()
        stack.callback(lambda: os.close(device))
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={MAX_IO}"
        point = f"/proc/self/fd/{directory}".encode()
        if LIBC.mount(source.encode(), point, KIND.encode(), _FLAGS, options.encode()) != 0:
            raise _refused(ctypes.get_errno())
        made = [one for one in _mounts() if one.source == source and one.kind == KIND]
        if not made or LINKS_STAY not in made[-1].options:
            unmount(lambda name: name == source)
            raise UnavailableError(
                "this kernel follows symbolic links in file systems of guests to files of this host, which is not safe:"
                " `cc mount` needs Linux 5.10"
            )
        return os.dup(device), real


def _directory(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"mount point does not exist: {path[:200]}") from None
    except NotADirectoryError:
        raise InvalidError(f"{path[:200]} is not a directory, and nothing can be mounted there") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidError(f"{path[:200]} cannot be opened: {why}") from None


def _check(directory: int, real: str, path: str, own: tuple[Path, ...]) -> None:
    """What is mounted hides what was there, and whoever removes a directory must not come upon a guest's files."""
    if any(Path(real).is_relative_to(one.resolve()) for one in own):
        raise InvalidError(f"{path[:200]} is in a directory that minibus works in, where no guest can be mounted")
    there = mountinfo.of_path(_MOUNTINFO.read_text(errors="surrogateescape"), real)
    if there is not None and there.kind == KIND:
        raise ConflictError(f"{path[:200]} is in the file system of a guest, or one is mounted there already")
    with os.scandir(directory) as entries:
        if next(entries, None) is not None:
            raise ConflictError(f"{path[:200]} is not empty: a guest is mounted on an empty directory")


def _device() -> int:
    if not _may_mount():
        raise _refused(errno.EPERM)
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(error.errno) from None


def _may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN; one that is confined does not see the device either."""
    status = Path("/proc/self/status").read_text()
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)


def _refused(number: int | None) -> BusError:
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        sentence = f"this host cannot mount guests: {DEVICE} is missing (`modprobe fuse`, or a kernel with FUSE)"
    elif number in (errno.EPERM, errno.EACCES):
        sentence = "this process may not mount: `cc mount` needs CAP_SYS_ADMIN and /dev/fuse, as under `minibus up`"
    else:
        sentence = f"the guest cannot be mounted: {os.strerror(number or 0)}"
    return UnavailableError(sentence)


def _mounts() -> list[mountinfo.Mounted]:
    return list(mountinfo.read(_MOUNTINFO.read_text(errors="surrogateescape")))


def unmount(is_meant: Callable[[str], bool]) -> list[str]:
    """Take off the mounts with these sources, whoever still uses them; returns where something else lies over one."""
    left: list[str] = []
    while True:
        mounts = [one for one in _mounts() if one.point not in left]
        meant = [one for one in mounts if one.kind == KIND and is_meant(one.source)]
        if not meant:
            return left
        last = meant[-1]
        over = [one for one in mounts[mounts.index(last) + 1 :] if one.point == last.point]
        if over or LIBC.umount2(os.fsencode(last.point), MNT_DETACH | UMOUNT_NOFOLLOW) != 0:
            left.append(last.point)
