"""Can the container's init be executed? Asked inside its root, before the container is called built.

Otherwise the answer would only come at the start, long after the launch that named the wrong program.
"""

from __future__ import annotations

import os
import stat
import struct

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from typing import Final


MAX_INTERPRETERS: Final = 5  # how deep the kernel follows `#!` (fs/exec.c)
HEAD_BYTES: Final = 4096
_SCRIPT_LINE: Final = 256  # BINPRM_BUF_SIZE
_PT_INTERP: Final = 3
_ELF: Final = b"\x7fELF"


class BadInitError(Exception):
    """Why it cannot be executed, as one sentence."""


def check_init(path: bytes) -> int:
    """0, or raise `BadInitError` if execve(2) of `path`, its `#!` interpreter or its dynamic loader would fail."""
    if _is_plainly_good(path, MAX_INTERPRETERS):
        return 0
    _explain(path)
    return 0


def _is_plainly_good(path: bytes, depth: int) -> bool:
    """True if it can be executed. This is asked in every new container, so it does as little as it can."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        head = os.read(fd, HEAD_BYTES)
    except OSError:
        return False
    finally:
        os.close(fd)
    if not os.access(path, os.X_OK):  # the mode bits, and whether the file system allows it at all
        return False
    if head.startswith(b"#!"):
        interpreter = script_interpreter(head)
        return bool(interpreter) and depth > 1 and _is_plainly_good(interpreter or b"", depth - 1)
    if not head.startswith(_ELF):
        return False
    loader = elf_interpreter(head)
    return loader is None or os.access(loader, os.X_OK)


def _explain(path: bytes) -> None:
    """Raise `BadInitError` with what is wrong."""
    what = init = f"init {os.fsdecode(path)}"
    for _ in range(MAX_INTERPRETERS):
        head = _read_executable(path, what)
        interpreter = script_interpreter(head)
        if interpreter is None:
            break
        if not interpreter:
            raise BadInitError(f"{what} names no interpreter after #!")
        path, what = interpreter, f"{init}: its interpreter {os.fsdecode(interpreter)}"
    else:
        raise BadInitError(f"{what} is one script interpreter too many")
    if not head.startswith(_ELF):
        raise BadInitError(f"{what} is neither a program (ELF) nor a script that begins with #!")
    loader = elf_interpreter(head)
    if loader:
        _read_executable(loader, f"{what}: its dynamic loader {os.fsdecode(loader)}")


def script_interpreter(head: bytes) -> bytes | None:
    """The path after `#!`, empty if there is none, or None if `head` does not begin with `#!`."""
    if not head.startswith(b"#!"):
        return None
    words = head[2:_SCRIPT_LINE].split(b"\n", 1)[0].split(None, 1)
    return words[0] if words else b""


def elf_interpreter(head: bytes) -> bytes | None:
    """The dynamic loader an ELF file asks for (PT_INTERP), or None if it needs none or says so beyond `head`."""
    try:
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        table, size, count = _program_headers(head, wide, order)
        for index in range(count):
            at = table + index * size
            if struct.unpack_from(order + "I", head, at)[0] == _PT_INTERP:
                form, skip = ("Q", 8) if wide else ("I", 4)
                (offset,) = struct.unpack_from(order + form, head, at + skip)
                end = head.index(b"\0", offset)
                return head[offset:end]
    except (IndexError, ValueError, struct.error):
        return None
    return None


def _program_headers(head: bytes, wide: bool, order: str) -> tuple[int, int, int]:
    """(offset, size of one, how many), from the ELF header (elf(5))."""
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    return table, size, count


def _read_executable(path: bytes, what: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BadInitError(f"{what} does not exist in the container's root") from None
    except OSError as error:
        raise BadInitError(f"{what} cannot be opened: {error.strerror}") from None
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise BadInitError(f"{what} is a directory")
        if not stat.S_ISREG(mode):
            raise BadInitError(f"{what} is not a regular file")
        if not os.access(path, os.X_OK):  # the mode bits, and whether the file system allows it at all
            raise BadInitError(f"{what} is not executable")
        return os.read(fd, HEAD_BYTES)
    finally:
        os.close(fd)
