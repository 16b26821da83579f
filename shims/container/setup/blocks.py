"""What the set-up of a container is made of: prepared calls for the things that every part of it does."""

from __future__ import annotations

import os
import stat
from errno import EEXIST
from typing import Final

from shims.container.setup.action import Action
from shims.linux import mount as m

# Descriptors of the new process. The warden keeps those below out of use, and the order here is the order of opening.
HOST_ROOT: Final = 6
DIRECTORY: Final = 7
CONSOLE: Final = 8
NEW_ROOT: Final = 9
PROC: Final = 10
DEV: Final = 11
SYS: Final = 12
SCRATCH: Final = 13
FIRST_TREE: Final = SCRATCH + 1

AT_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def mkdir(step: str, path: bytes, mode: int = 0o755, *, named: bytes = b"") -> Action:
    """Make a directory unless it is there; `named` is what a message calls it where that is not its path."""
    return Action(step, "mkdir", (path, mode), named or path, (EEXIST,))


def make_directories(step: str, path: bytes) -> list[Action]:
    """Make `path` and all above it; each with its own mode, the umask being 0."""
    parts = path.strip(b"/").split(b"/")
    return [mkdir(step, b"/" + b"/".join(parts[: count + 1])) for count in range(len(parts))]


def make_file(step: str, path: bytes, mode: int, *, named: bytes = b"") -> Action:
    """Make an empty file unless there is something of that name."""
    return Action(step, "mknod", (path, stat.S_IFREG | mode, 0), named or path, (EEXIST,))


def mount(
    step: str,
    source: bytes,
    target: bytes,
    fstype: bytes | None,
    flags: int,
    data: bytes | None = None,
    tolerated: tuple[int, ...] = (),
    *,
    named: bytes = b"",
) -> Action:
    """mount(2)."""
    return Action(step, "mount", (source, target, fstype, flags, data), named or target, tolerated)


def take(step: str, path: bytes, number: int, *, named: bytes = b"") -> Action:
    """A detached bind of `path`, not recursive, as descriptor `number`."""
    flags = m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC
    return Action(step, "syscall", (m.SYS_OPEN_TREE, m.AT_FDCWD, path, flags), named or path, keep_as=number)


def attach(step: str, number: int, target: bytes, *, named: bytes = b"") -> Action:
    """Put the detached mount `number` in its place, which is no symbolic link."""
    arguments = (m.SYS_MOVE_MOUNT, number, b"", m.AT_FDCWD, target, m.MOVE_MOUNT_F_EMPTY_PATH)
    return Action(step, "syscall", arguments, named or target)


def open_as(step: str, path: bytes, flags: int, number: int, mode: int = 0, *, named: bytes = b"") -> Action:
    """open(2), as descriptor `number`."""
    return Action(step, "open", (path, flags, mode), named or path, keep_as=number)


def write(step: str, number: int, content: bytes) -> Action:
    """write(2)."""
    return Action(step, "write", (number, content, len(content)))


def write_file(step: str, path: bytes, content: bytes, mode: int, *, named: bytes = b"") -> list[Action]:
    """Make a file, which must not be there, with this content."""
    return [open_as(step, path, _NEW_FILE, SCRATCH, mode, named=named), write(step, SCRATCH, content), closed(SCRATCH)]


def closed(number: int) -> Action:
    """close(2)."""
    return Action("close", "close", (number,))


def into(step: str, number: int) -> Action:
    """Make the directory behind a descriptor the current one."""
    return Action(step, "fchdir", (number,))
