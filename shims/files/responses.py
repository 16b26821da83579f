"""What guests send back: `<file area>[/<namespace>]/miniccc_responses/<command id>/<uuid>/...`.

Names come from guests, so nothing here follows a link: directories are opened one by one from the top, and every name
is a tuple of checked components. Files of guests grow beside the directories of the guests, under `<id>/.partial/`,
where no name of a guest leads, and are moved to their places when they are whole.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from bus.messages.base import DEFAULT_NAMESPACE
from shims.files import instance

DIRECTORY: Final = "miniccc_responses"
EXIT_CODE: Final = "exitcode"
OUTPUTS: Final = ("stdout", "stderr")
_PARTIAL: Final = b".partial"
_REMOVING: Final = ".removing-"
_DIRECTORY_MODE: Final = 0o770
_FILE_MODE: Final = 0o660
_OPEN_FILES: Final = 128
"""Outputs that stay open; opening one takes three times as long as a write."""
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESERVE_BYTES: Final = 64 * 1024 * 1024
"""What guests leave free for everybody else on a large file system; of a small one a twentieth."""
_MAX_DEPTH: Final = 64
_PAGE_FILES: Final = 2_000
READ_BYTES: Final = 1024 * 1024

GuestPath = tuple[bytes, ...]
Output = tuple[str, int, str, str]
"""Namespace, id, UUID, name."""


class GuestNameError(Exception):
    """A guest gave a name that no file here can have; `str()` is one sentence."""


class Entry(NamedTuple):
    """A file, or a piece of it."""

    id: int
    uuid: str
    name: str
    """Bytes that are not UTF-8 are escaped."""
    size: int
    offset: int
    data: bytes


class Page(NamedTuple):
    """Some files, and where the next page begins; empty at the end."""

    entries: list[Entry]
    cursor: str


def guest_path(name: str | bytes) -> GuestPath:
    """The components of an absolute path in a guest; raises GuestNameError."""
    try:
        raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    except UnicodeEncodeError:
        raise GuestNameError("the name of a file has characters that no name can have") from None
    parts = tuple(raw.split(b"/"))
    if len(parts) < 2 or parts[0]:
        raise GuestNameError("the name of a file is not an absolute path")
    if any(part in (b"", b".", b"..") or b"\0" in part or len(part) > 255 for part in parts[1:]):
        raise GuestNameError("the name of a file has an empty, a relative or a too long part")
    if len(parts) > _MAX_DEPTH or len(raw) > 2048:
        raise GuestNameError(f"the name of a file has more than {_MAX_DEPTH - 1} parts or 2048 bytes")
    return parts[1:]


class Responses:
    """See the module. All methods block as the file system does, and raise OSError where it fails."""

    def __init__(self, files_dir: Path) -> None:
        self._files_dir = files_dir
        self._open: OrderedDict[Output, int] = OrderedDict()
        # Unlike those of an earlier process.
        self._aside = (f"{_REMOVING}{time.time_ns()}-{number}" for number in itertools.count())

    def root(self, namespace: str) -> Path:
        """The directory of a namespace."""
        if namespace == DEFAULT_NAMESPACE:
            return self._files_dir / DIRECTORY
        return self._files_dir / quote(namespace, safe=" ") / DIRECTORY

    def room(self, namespace: str) -> int:
        """Bytes that guests may still write."""
        where = self.root(namespace)
        while not where.exists() and where != where.parent:
            where = where.parent
        status = os.statvfs(where)
        reserve = min(_RESERVE_BYTES, status.f_blocks * status.f_frsize // 20)
        return max(0, status.f_bavail * status.f_frsize - reserve)

    # --- output

    def size(self, output: Output) -> int:
        """How much is there."""
        try:
            return os.fstat(self._output(output, make=False)).st_size
        except FileNotFoundError:
            return 0

    def write(self, output: Output, offset: int, data: bytes) -> int:
        """Write at an offset; returns how much of it was written."""
        return os.pwrite(self._output(output, make=True), data, offset)

    def note(self, output: Output, text: str) -> None:
        """Put a short text in place of what is there."""
        fd = self._output(output, make=True)
        data = text.encode("utf-8", "backslashreplace")
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))

    def check_in(self, namespace: str, number: int, uuid: str) -> None:
        """Make a guest's directory: that it is there says that the guest has answered."""
        os.close(self._guest(namespace, number, uuid, make=True))

    def close(self, output: Output) -> None:
        """No more is written there for now."""
        fd = self._open.pop(output, -1)
        if fd >= 0:
            os.close(fd)

    def close_all(self) -> None:
        """Let go of everything."""
        for output in tuple(self._open):
            self.close(output)

    def _output(self, output: Output, *, make: bool) -> int:
        fd = self._open.get(output, -1)
        if fd >= 0:
            self._open.move_to_end(output)
            if os.fstat(fd).st_nlink:
                return fd
            self.close(output)  # somebody has removed it
        namespace, number, uuid, name = output
        with _held(self._guest(namespace, number, uuid, make=make)) as directory:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if make else 0)
            fd = os.open(name, flags, _FILE_MODE, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", name)
        self._open[output] = fd
        while len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return fd

    # --- files of guests

    def open_partial(self, namespace: str, number: int, name: str) -> int:
        """A descriptor, to read and write, of a file that grows; what it has from before stays."""
        with _held(self._partial(namespace, number)) as directory:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, _FILE_MODE, dir_fd=directory)

    def place(self, namespace: str, number: int, name: str, uuid: str, path: GuestPath, mode: int) -> None:
        """Move a file that is whole to its place, over what is there."""
        with _held(self._partial(namespace, number)) as partial, contextlib.ExitStack() as stack:
            directory = stack.enter_context(_held(self._guest(namespace, number, uuid, make=True)))
            for component in path[:-1]:
                directory = stack.enter_context(_held(_directory(component, directory, make=True)))
            with _held(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=partial)) as fd:
                os.fchmod(fd, mode & 0o777)  # never setuid: nothing of a guest gets rights here
            os.rename(name, path[-1], src_dir_fd=partial, dst_dir_fd=directory)

    def discard(self, namespace: str, number: int, name: str) -> None:
        """Remove a file that will not be whole; harmless when repeated."""
        with contextlib.suppress(OSError), _held(self._partial(namespace, number)) as directory:
            os.unlink(name, dir_fd=directory)

    def discard_all(self, namespace: str, number: int, uuid: str) -> None:
        """Remove all files of a guest that will not be whole."""
        with (
            contextlib.suppress(OSError),
            _held(self._id(namespace, number, make=False)) as above,
            _held(_directory(_PARTIAL, above, make=False)) as directory,
        ):
            for name in os.listdir(directory):
                if name.startswith(f"{uuid}."):
                    os.unlink(name, dir_fd=directory)

    # --- removing

    def put_aside(self, namespace: str, ids: Iterable[int] | None, uuid: str = "") -> list[Path]:
        """Take responses out of sight, all of the namespace's with None; what is returned is for `destroy`."""
        root = self.root(namespace)
        chosen = None if ids is None else {str(number) for number in ids}
        for output in tuple(self._open):
            mine = output[0] == namespace and (chosen is None or str(output[1]) in chosen)
            if mine and uuid in ("", output[2]):
                self.close(output)
        doomed = [root] if chosen is None else [root / number / uuid for number in chosen]
        found: list[Path] = []
        for path in doomed:
            target = self._files_dir / next(self._aside)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.rename(path, target)
                found.append(target)
        return found

    def archive(self, namespace: str, stamp: str) -> None:
        """Put all responses of a namespace, if there are any, into a directory beside theirs with the stamp."""
        root = self.root(namespace)
        if not self._has_any(namespace, None):
            return
        self._close_all_of(namespace)
        for number in itertools.count():
            target = root.with_name(f"{DIRECTORY}.{stamp}{f'-{number}' if number else ''}")
            if not target.exists():
                os.rename(root, target)
                return

    def _close_all_of(self, namespace: str) -> None:
        for output in [output for output in self._open if output[0] == namespace]:
            self.close(output)

    def destroy(self, aside: Iterable[Path]) -> None:
        """Remove what was put aside; may take long, and may run in a thread."""
        for path in aside:
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                instance.remove(path)

    def left_aside(self) -> list[Path]:
        """What an earlier process had not destroyed."""
        with contextlib.suppress(FileNotFoundError):
            return [entry for entry in self._files_dir.iterdir() if entry.name.startswith(_REMOVING)]
        return []

    # --- looking

    def page(
        self,
        namespace: str,
        ids: Iterable[int] | None,
        cursor: str,
        *,
        with_data: bool,
        most: int = 0,
        fetched: frozenset[int] = frozenset(),
    ) -> Page | None:
        """Files in the lexical order of paths, with at most 1 MiB of what they hold; None if there are none at all.

        With `most`, only so many bytes of each file. How a program ended is no file; commands that have `fetched`
        files may have one that is called so.
        """
        after, offset = _read_cursor(cursor)
        chosen = None if ids is None else {str(number).encode() for number in ids}
        try:
            root = os.open(self.root(namespace), _OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        entries: list[Entry] = []
        room = READ_BYTES
        seen = False
        with _held(root):
            for path, size, fd in _walk(root, (), after, chosen):
                with _held(fd):
                    seen = True
                    if path[2:] == (EXIT_CODE.encode(),) and int(path[0]) not in fetched:
                        continue
                    start = offset if path == after else 0
                    if len(entries) >= _PAGE_FILES or (with_data and room <= 0):
                        return Page(entries, _cursor(path, start))
                    end = min(size, most) if most > 0 else size
                    data = _read(fd, start, min(room, max(0, end - start))) if with_data else b""
                    room -= len(data)
                    entries.append(_entry(path, size, start, data))
                    if with_data and start + len(data) < end and data:
                        return Page(entries, _cursor(path, start + len(data)))
        return Page(entries, "") if seen or cursor or self._has_any(namespace, chosen) else None

    def _has_any(self, namespace: str, chosen: set[bytes] | None) -> bool:
        """Whether a guest has answered, if only by its directory."""
        root = os.fsencode(self.root(namespace))
        with contextlib.suppress(OSError):
            ids = [name for name in os.listdir(root) if name.isdigit() and (chosen is None or name in chosen)]
            return any(name != _PARTIAL for number in ids for name in os.listdir(os.path.join(root, number)))
        return False

    # --- directories

    def _guest(self, namespace: str, number: int, uuid: str, *, make: bool) -> int:
        with _held(self._id(namespace, number, make=make)) as directory:
            return _directory(uuid.encode(), directory, make=make)

    def _partial(self, namespace: str, number: int) -> int:
        with _held(self._id(namespace, number, make=True)) as directory:
            return _directory(_PARTIAL, directory, make=True)

    def _id(self, namespace: str, number: int, *, make: bool) -> int:
        root = self.root(namespace)
        if make:
            os.makedirs(root, 0o775, exist_ok=True)
        with _held(os.open(root, _OPEN_DIRECTORY)) as directory:
            return _directory(str(number).encode(), directory, make=make)


@contextlib.contextmanager
def _held(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _directory(name: bytes, parent: int, *, make: bool) -> int:
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, _DIRECTORY_MODE, dir_fd=parent)
    return os.open(name, _OPEN_DIRECTORY, dir_fd=parent)


def _walk(
    directory: int, above: GuestPath, after: GuestPath, chosen: set[bytes] | None
) -> Iterator[tuple[GuestPath, int, int]]:
    """Regular files below a directory from `after` on: path, size, and a descriptor that the taker closes."""
    depth = len(above)
    bound = after[depth] if depth < len(after) else b""
    for name in sorted(os.fsencode(entry) for entry in os.listdir(directory)):
        if name < bound or (depth == 0 and not _is_id(name, chosen)) or (depth == 1 and name == _PARTIAL):
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            continue  # a link, or gone meanwhile
        path = (*above, name)
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode) and depth < _MAX_DEPTH + 2:
            with _held(fd):
                yield from _walk(fd, path, after if name == bound else (), chosen)
        elif stat.S_ISREG(status.st_mode) and depth >= 2:
            yield path, status.st_size, fd
        else:
            os.close(fd)


def _is_id(name: bytes, chosen: set[bytes] | None) -> bool:
    return name.isdigit() and (chosen is None or name in chosen)


def _read(fd: int, offset: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def _entry(path: GuestPath, size: int, offset: int, data: bytes) -> Entry:
    name = b"/".join(path[2:]).decode("utf-8", "backslashreplace")
    if not (len(path) == 3 and name in OUTPUTS):
        name = f"/{name}"
    uuid = path[1].decode("utf-8", "backslashreplace")
    return Entry(id=int(path[0]), uuid=uuid, name=name, size=size, offset=offset, data=data)


def _cursor(path: GuestPath, offset: int) -> str:
    return f"{offset}:{quote_from_bytes(b'/'.join(path))}"


def _read_cursor(cursor: str) -> tuple[GuestPath, int]:
    offset, _, path = cursor.partition(":")
    if not (offset.isascii() and offset.isdecimal() and path):
        return (), 0
    return tuple(unquote_to_bytes(path).split(b"/")), int(offset)
