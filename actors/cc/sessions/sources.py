"""Files that are sent to guests: found in the file area, read once for all guests that get the same."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

from actors.cc.protocol import frames
from bus.errors import BusError, InvalidError, NotFoundError
from bus.messages.base import DEFAULT_NAMESPACE
from shims.agent.line.wire import CHUNK
from shims.files.file_area import AreaError, FileArea, Found, Name, quoted, shown
from shims.files.responses import DIRECTORY as RESPONSES

MAX_FILES: Final = 10_000
"""Of one command."""
PUT_BYTES: Final = 64 * 1024
"""Of the names in one `put`."""
PUT_FIELDS: Final = 128
"""What a file takes there besides its name."""
_OPEN_FILES: Final = 64
_READY_FRAMES: Final = 64
"""Frames kept for the guests that come to the same place a moment later: 4 MiB."""
_DIGESTS: Final = 20_000
_HASHERS: Final = 2
"""Threads that hash at a time."""


# ---------------------------------------------------------------- which files (blocking)


def survey(area: FileArea, namespace: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the area of all files that are meant; directories with all in them. Raises BusError."""
    found: dict[str, None] = {}
    for pattern in patterns:
        try:
            names = _meant(area, namespace, pattern)
        except AreaError as error:
            raise InvalidError(str(error)) from None
        except OSError as error:
            raise InvalidError(f"cannot read {quoted(pattern)}: {error.strerror}") from None
        if not names:
            raise NotFoundError(f"no such file: {pattern[:200]}")
        for name in names:
            found["/".join(name)] = None
            if len(found) > MAX_FILES:
                raise InvalidError(f"more than {MAX_FILES} files cannot be sent at once: send an archive of them")
    return tuple(found)


def target_name(name: str, namespace: str) -> str:
    """What a file is called in the guest: without the directory of the namespace."""
    return name.removeprefix(f"{namespace}/") if namespace != DEFAULT_NAMESPACE else name


def _meant(area: FileArea, namespace: str, pattern: str) -> list[Name]:
    relative = pattern
    if pattern.startswith("/"):
        root = str(area.root)
        if not pattern.startswith(f"{root}/"):
            raise InvalidError(f"can only send files from {root}")
        relative = pattern[len(root) + 1 :]
    parts = tuple(part for part in relative.split("/") if part not in ("", "."))
    if ".." in parts:
        raise InvalidError(f"can only send files from {area.root}")
    tops: list[Name] = [()]
    if namespace != DEFAULT_NAMESPACE and not pattern.startswith("/"):
        tops.insert(0, (namespace,))
    for top in tops:
        names: list[Name] = []
        for name in _matches(area, (*top, *parts), named=bool(parts)):
            if name[len(top)].startswith(RESPONSES) and parts[:1] != (name[len(top)],):
                continue  # what came back is not meant by a pattern that happens to cover it
            names += _files(area, name)
        if names:
            return names
    return []


def _matches(area: FileArea, name: Name, *, named: bool) -> list[Name]:
    if not named:
        return [(*name, entry.name) for entry in area.entries(name) or ()]
    return [name] if area.find(name) is not None else area.match(name)


def _files(area: FileArea, name: Name) -> list[Name]:
    found = area.find(name)
    if found is None:
        return []
    if not found.is_directory:
        return [_sendable(name, found)]
    files: list[Name] = []
    pending = [name]
    while pending:
        directory = pending.pop()
        for entry in area.entries(directory) or ():
            inner = (*directory, entry.name)
            if entry.is_directory:
                if not Path(area.path(inner)).is_symlink():  # a link may lead back up
                    pending.append(inner)
            elif entry.is_file:
                files.append(_sendable(inner, entry))
            if len(files) + len(pending) > MAX_FILES:
                raise InvalidError(f"{shown(name)} has more than {MAX_FILES} files in it: send an archive of them")
    if not files:
        raise InvalidError(f"{shown(name)} is a directory without any file in it")
    return sorted(files)


def _sendable(name: Name, found: Found) -> Name:
    if not found.is_file:
        raise InvalidError(f"{shown(name)} is neither a file nor a directory")
    try:
        "/".join(name).encode()
    except UnicodeEncodeError:
        raise InvalidError(f"{shown(name)} cannot be sent: its name is not UTF-8") from None
    return name


# ---------------------------------------------------------------- what is in them


class Version(NamedTuple):
    """By which a file is known to be the one that was hashed."""

    inode: int
    size: int
    mtime_ns: int


class Source(NamedTuple):
    """A file as it is now."""

    name: str
    version: Version
    mode: int
    sha256: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.version.size


class Batch:
    """The files of one command as they are now, and the frames that offer them, which are the same for all guests."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self.sources = sources
        self._frames: dict[tuple[int, str], list[bytes]] = {}

    def frames(self, serial: int, namespace: str) -> list[bytes]:
        """The `put` of a command, in as many frames as it takes."""
        found = self._frames.get((serial, namespace))
        if found is None:
            found = self._frames[serial, namespace] = list(
                map(frames.encode, put_frames(serial, namespace, self.sources))
            )
        return found


def put_frames(serial: int, namespace: str, sources: tuple[Source, ...]) -> list[frames.Put]:
    """The `put` of a command, each with as many files as it has room for."""
    groups: list[list[frames.PutFile]] = [[]]
    room = PUT_BYTES
    for source in sources:
        name = target_name(source.name, namespace)
        size = len(name.encode()) + PUT_FIELDS
        if room < size and groups[-1]:
            groups.append([])
            room = PUT_BYTES
        room -= size
        groups[-1].append(frames.PutFile(name=name, size=source.size, mode=source.mode & 0o777, sha256=source.sha256))
    found: list[frames.Put] = []
    first = 0
    for number, group in enumerate(groups, 1):
        found.append(frames.Put(serial=serial, first=first, files=tuple(group), more=number < len(groups)))
        first += len(group)
    return found


class ChangedError(Exception):
    """A file is not any more what was announced; `str()` is one sentence."""


class Sources:
    """See the module."""

    def __init__(self, files_dir: Path, tag: str) -> None:
        self.area = FileArea(files_dir, tag)
        self._known: OrderedDict[str, Source] = OrderedDict()
        self._under_way: dict[tuple[str, ...], asyncio.Task[Batch]] = {}
        self._hashers = asyncio.Semaphore(_HASHERS)
        self._open: OrderedDict[tuple[str, Version], int] = OrderedDict()
        self._frames: OrderedDict[tuple[str, int, int, Source, int], bytes] = OrderedDict()

    def close(self) -> None:
        """Let go of everything."""
        for task in self._under_way.values():
            task.cancel()
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._frames.clear()

    async def survey(self, namespace: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """See the function; raises BusError."""
        return await asyncio.to_thread(survey, self.area, namespace, patterns)

    async def batch(self, names: tuple[str, ...]) -> Batch:
        """Files with their digests, which are taken once for each version of a file. Raises BusError.

        Hundreds of guests that get the same at a time wait for one look: to look at thousands of files for each of them
        would keep all others waiting.
        """
        task = self._under_way.get(names)
        if task is None:
            name = f"digests {names[0][:80]}" if names else "digests"
            task = asyncio.get_running_loop().create_task(self._look(names), name=name)
            self._under_way[names] = task
            task.add_done_callback(lambda done: self._looked(names, done))
        return await asyncio.shield(task)

    def _looked(self, names: tuple[str, ...], task: asyncio.Task[Batch]) -> None:
        self._under_way.pop(names, None)
        if not task.cancelled() and task.exception() is None:
            self._known.update((source.name, source) for source in task.result().sources)
            while len(self._known) > _DIGESTS:
                self._known.popitem(last=False)

    async def _look(self, names: tuple[str, ...]) -> Batch:
        async with self._hashers:
            return Batch(await asyncio.to_thread(self._sources_of, names))

    # --- blocking

    def _sources_of(self, names: tuple[str, ...]) -> tuple[Source, ...]:
        return tuple([self._source(name) for name in names])

    def _source(self, name: str) -> Source:
        known = self._known.get(name)
        if known is not None and self._version(name) == known.version:
            return known
        try:
            return self._hash(name)
        except (OSError, AreaError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise NotFoundError(f"cannot read {quoted(name)}: {why}") from None

    def _hash(self, name: str) -> Source:
        fd = self.area.open_file(tuple(name.split("/")))
        try:
            digest = hashlib.sha256()
            status = os.fstat(fd)
            left = status.st_size
            while left > 0 and (piece := os.read(fd, min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
            version = Version(status.st_ino, status.st_size, status.st_mtime_ns)
            return Source(name, version, status.st_mode & 0o7777, digest.hexdigest())
        finally:
            os.close(fd)

    def _version(self, name: str) -> Version | None:
        with contextlib.suppress(AreaError, OSError, BusError):
            found = self.area.find(tuple(name.split("/")))
            if found is not None:
                return Version(found.inode, found.size_bytes, found.mtime_ns)
        return None

    # --- for the loop again

    def frame(self, ledger: str, serial: int, index: int, source: Source, offset: int) -> tuple[bytes, int]:
        """The `data` frame at an offset, and how many bytes of the file it holds. Raises ChangedError."""
        key = (ledger, serial, index, source, offset)
        size = min(CHUNK, source.size - offset)
        ready = self._frames.get(key)
        if ready is not None:
            self._frames.move_to_end(key)
            return ready, size
        try:
            data = os.pread(self._descriptor(source), size, offset) if size else b""
        except (OSError, AreaError) as error:
            raise ChangedError(f"{quoted(source.name)} cannot be read any more: {error}") from None
        if len(data) < size:
            raise ChangedError(f"{quoted(source.name)} became shorter while it was sent")
        eof = offset + size == source.size
        ready = frames.encode(frames.Data(serial=serial, stream=f"file/{index}", offset=offset, data=data, eof=eof))
        self._frames[key] = ready
        if len(self._frames) > _READY_FRAMES:
            self._frames.popitem(last=False)
        return ready, size

    def _descriptor(self, source: Source) -> int:
        key = (source.name, source.version)
        fd = self._open.get(key)
        if fd is not None:
            self._open.move_to_end(key)
            return fd
        fd = self.area.open_file(tuple(source.name.split("/")))
        status = os.fstat(fd)
        if Version(status.st_ino, status.st_size, status.st_mtime_ns) != source.version:
            os.close(fd)
            raise ChangedError(f"{quoted(source.name)} was changed while it was sent")
        self._open[key] = fd
        if len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return fd
