"""The file area: a directory out of which no name leads, whatever symbolic links are in it.

A name is a tuple of plain components, so `..` cannot occur; that is refused here once more. To look, links are followed
as far as they stay inside. To change something, directories are opened one by one from the top and no link is
followed, so nothing that happens to the tree meanwhile leads out either.

Downloads grow in a hidden directory at the top and are linked to their places when they are complete.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from shims.files import instance

HIDDEN: Final = ".transfer"
"""The directory at the top in which downloads grow; no name leads there."""
MAX_MATCHES: Final = 100_000
"""Names that one pattern may mean."""
DIRECTORY_MODE: Final = 0o755
FILE_MODE: Final = 0o644

SHOWN: Final = 120
"""Characters of a name in a sentence."""

Name = tuple[str, ...]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)  # link(2): the file system has none, or no more
_MAGIC = re.compile(r"[*?[]")


class AreaError(Exception):
    """A name that cannot be used as it was meant; `str()` is one sentence."""


class Found(NamedTuple):
    """Something in the area."""

    name: str
    """The last component; empty for the area itself."""
    is_directory: bool
    is_file: bool
    size_bytes: int
    inode: int
    mtime_ns: int


class Grown(NamedTuple):
    """A complete file that is not yet in its place."""

    temporary: str
    """For `place` and `discard`."""
    found: Found


class FileArea:
    """See the module. All methods block for as long as the file system does, and raise OSError where it fails."""

    def __init__(self, root: Path, tag: str) -> None:
        """`tag` names the base directory: several may share one area."""
        self.root = root
        self._below = (HIDDEN, tag)
        self.hidden = root / HIDDEN / tag
        """Where downloads grow."""

    def prepare(self) -> None:
        """Make the area if it is not there, and throw away what downloads have left that came to no end."""
        os.makedirs(self.root, DIRECTORY_MODE, exist_ok=True)
        top = self.root / HIDDEN
        if not os.path.isdir(top) or os.path.islink(top):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(top)
        instance.remove(self.hidden)
        with self._in_hidden():
            pass

    def path(self, name: Name) -> str:
        """The absolute path of a name."""
        return os.path.join(self.root, *_checked(name))

    # --- looking

    def find(self, name: Name) -> Found | None:
        """What is there, links followed; None if nothing is. Raises AreaError if a link leads out."""
        try:
            real = self._real(name) if name else ()
            with self._opened(real[:-1]) as directory:
                status = os.stat(real[-1], dir_fd=directory, follow_symlinks=False) if real else os.fstat(directory)
                return _found(name[-1] if name else "", status)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def entries(self, name: Name) -> list[Found] | None:
        """What is in a directory, sorted by name; of a file the file itself; None if nothing is there."""
        found = self.find(name)
        if found is None or not found.is_directory:
            return found and [found]
        real = self._real(name) if name else ()
        with self._opened(real) as directory, os.scandir(directory) as entries:
            names = [entry.name for entry in entries if real or entry.name != HIDDEN]
            listed = [self._entry(directory, name, entry) for entry in sorted(names)]
        return [entry for entry in listed if entry is not None]

    def match(self, pattern: Name) -> list[Name]:
        """The names that a pattern means: `*`, `?` and `[a-c]` within a component, no links followed, sorted.

        A component that is there as it stands means just that. Raises AreaError if there are too many.
        """
        found: list[Name] = []
        with self._opened(()) as top:
            self._match(top, (), _checked(pattern), found)
        return found

    def open_file(self, name: Name) -> int:
        """A descriptor of a regular file, links followed as `find` does; raises AreaError if it is none."""
        real = self._real(name)
        with self._opened(real[:-1]) as directory:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(real[-1], flags, dir_fd=directory) if real else os.dup(directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise AreaError(f"{shown(name)} is not a regular file")
        return fd

    # --- changing

    def delete(self, name: Name) -> None:
        """Remove a file, or a directory and all in it; a link goes, what it leads to stays. Nothing there: no error."""
        with contextlib.suppress(FileNotFoundError), self._opened(_changeable(name)[:-1]) as directory:
            mode = os.stat(name[-1], dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                instance.remove(Path(f"/proc/self/fd/{directory}/{name[-1]}"))
            else:
                os.unlink(name[-1], dir_fd=directory)

    def check_place(self, name: Name) -> None:
        """Raise AreaError if a download could not be put at this name in the end, as far as that can be seen now."""
        current = self._open(())
        try:
            device = os.fstat(current).st_dev
            for number, component in enumerate(_changeable(name)[:-1], 1):
                try:
                    inner = os.open(component, _DIRECTORY, dir_fd=current)
                except FileNotFoundError:
                    return
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
                    raise AreaError(f"{shown(name[:number])} is in the way: it is not a directory") from None
                os.close(current)
                current = inner
                if os.fstat(current).st_dev != device:
                    raise AreaError(f"{shown(name[:number])} is not on the file system of the file area")
        finally:
            os.close(current)

    def grow(self, write: Callable[[int], object]) -> Grown:
        """Have a file written in the hidden directory; if `write`, which gets a descriptor, raises, nothing stays."""
        name = secrets.token_hex(8)
        with self._in_hidden() as hidden:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE, dir_fd=hidden)
        try:
            os.fchmod(fd, FILE_MODE)  # whatever the umask
            write(fd)
            return Grown(name, _found(name, os.fstat(fd)))
        except BaseException:
            self.discard(name)
            raise
        finally:
            os.close(fd)

    def place(self, temporary: str, name: Name) -> None:
        """Put a complete file in its place, making the directories above; what somebody else has put there stays."""
        with self._in_hidden() as hidden, self._opened(_changeable(name)[:-1], make_mode=DIRECTORY_MODE) as directory:
            try:
                os.link(temporary, name[-1], src_dir_fd=hidden, dst_dir_fd=directory, follow_symlinks=False)
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.rename(temporary, name[-1], src_dir_fd=hidden, dst_dir_fd=directory)
                return
            os.unlink(temporary, dir_fd=hidden)

    def discard(self, temporary: str) -> None:
        """Remove a file that will not be complete; harmless when repeated."""
        with contextlib.suppress(OSError), self._in_hidden() as hidden:
            os.unlink(temporary, dir_fd=hidden)

    # --- directories

    def _real(self, name: Name) -> Name:
        """The name without links; raises OSError if nothing is there, AreaError if it is outside."""
        root = os.path.realpath(self.root)
        real = os.path.realpath(os.path.join(root, *_checked(name)), strict=True)
        if real == root:
            return ()
        if not real.startswith(f"{root}/"):
            raise AreaError(f"{shown(name)} leads out of the file area")
        components = tuple(real[len(root) + 1 :].split("/"))
        if components[0] == HIDDEN:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return components

    def _open(self, name: Name, *, make_mode: int = 0) -> int:
        """A descriptor of a directory, reached without following a link; with a mode, what is missing is made."""
        os.makedirs(self.root, DIRECTORY_MODE, exist_ok=True)  # somebody may have removed it
        current = os.open(self.root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for component in _checked(name):
                if make_mode:
                    _make_directory(component, current, make_mode)
                inner = os.open(component, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = inner
        except BaseException:
            os.close(current)
            raise
        return current

    @contextlib.contextmanager
    def _opened(self, name: Name, *, make_mode: int = 0) -> Iterator[int]:
        fd = self._open(name, make_mode=make_mode)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _in_hidden(self) -> Iterator[int]:
        with self._opened(self._below, make_mode=0o700) as fd:  # somebody may have removed it
            yield fd

    def _entry(self, directory: int, above: Name, entry: str) -> Found | None:
        """One line of a listing: what a link leads to, or the link itself if that is nowhere or outside."""
        with contextlib.suppress(FileNotFoundError):
            here = _found(entry, os.stat(entry, dir_fd=directory, follow_symlinks=False))
            if here.is_directory or here.is_file:
                return here
            with contextlib.suppress(AreaError):
                return self.find((*above, entry)) or here
            return here
        return None

    def _match(self, directory: int, above: Name, pattern: Name, found: list[Name]) -> None:
        for entry in _matching(directory, pattern[0], hide=not above):
            name = (*above, entry)
            if len(pattern) == 1:
                found.append(name)
                if len(found) > MAX_MATCHES:
                    raise AreaError(f"the pattern means more than {MAX_MATCHES} names")
                continue
            try:
                inner = os.open(entry, _DIRECTORY, dir_fd=directory)
            except OSError as error:
                if error.errno in _ABSENT:
                    continue
                raise
            try:
                self._match(inner, name, pattern[1:], found)
            finally:
                os.close(inner)


def quoted(text: str) -> str:
    """Foreign text in a sentence: bounded, and nothing in it that a terminal obeys."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text[:SHOWN])
    return f"`{shown}...`" if len(text) > SHOWN else f"`{shown}`"


def shown(name: Name) -> str:
    """A name in a sentence."""
    return quoted("/".join(name))


def _matching(directory: int, pattern: str, *, hide: bool) -> list[str]:
    """The entries of a directory that one component of a pattern means."""
    try:
        os.stat(pattern, dir_fd=directory, follow_symlinks=False)
        names = [pattern]
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        if not _MAGIC.search(pattern):
            return []
        # Go's globs, which scripts are written for, negate with `^`, fnmatch with `!`.
        names = sorted(fnmatch.filter(os.listdir(directory), pattern.replace("[^", "[!")))
    return [name for name in names if not (hide and name == HIDDEN)]


def _make_directory(component: str, parent: int, mode: int) -> None:
    try:
        os.mkdir(component, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    fd = os.open(component, _DIRECTORY, dir_fd=parent)
    try:
        os.fchmod(fd, mode)  # whatever the umask
    finally:
        os.close(fd)


def _checked(name: Name) -> Name:
    for component in name:
        if component in ("", ".", "..") or "/" in component or "\0" in component:
            raise AreaError(f"{shown(name)} is not a name in the file area")
    return name


def _changeable(name: Name) -> Name:
    if not _checked(name) or name[0] == HIDDEN:
        raise AreaError(f"{shown(name)} is reserved in the file area")
    return name


def _found(name: str, status: os.stat_result) -> Found:
    return Found(
        name=name,
        is_directory=stat.S_ISDIR(status.st_mode),
        is_file=stat.S_ISREG(status.st_mode),
        size_bytes=status.st_size,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
    )
