"""The shell of the `files` actor: looks into the file area, downloads into it, deletes from it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

from actors.files import state
from actors.files.downloads import Downloads
from actors.files.names import area_name, covers, deletable, file_name, url_digest, url_name
from actors.files.state import Delete, Deleted, Fetched, FileTable, Origin, Vanished
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.errors import BusError, ConflictError, InvalidError, NotFoundError, UnavailableError
from bus.messages.files import (
    DeleteFiles,
    FetchUrl,
    FileEntry,
    FileList,
    FileNames,
    GetFile,
    GetFiles,
    GetTransfers,
    ListFiles,
    LocalFile,
    MatchFiles,
    Transfer,
    TransferChanged,
    TransferList,
)
from bus.paths import Context
from bus.topics import file_topic
from shims.files.file_area import AreaError, FileArea, Found, Name, quoted, shown
from shims.http.url import UrlError, split_url

MAX_ENTRIES = 50_000
"""Of one listing; names may take 1,020 bytes each, a message 64 MiB."""
MAX_NAMED = 5_000
"""Names in the answer to a pattern; they may take 8 KiB each."""
MAX_NAMES = 1_000
"""Of one completion."""


@contextlib.contextmanager
def _sentences(kind: type[BusError] = InvalidError) -> Iterator[None]:
    """What the file system refuses becomes a failure for the user."""
    try:
        yield
    except AreaError as error:
        raise kind(str(error)) from None
    except OSError as error:
        raise UnavailableError(f"the file area cannot be used: {error.strerror or error}") from error


class FilesActor(StepActor[FileTable]):
    """See the module."""

    kind = "files"
    state_type = FileTable
    requests = (DeleteFiles,)

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self.area = FileArea(context.files_dir, context.tag)
        self.downloads = Downloads(self.area, self)
        self._root = str(context.files_dir)

    def initial_state(self) -> FileTable:
        """Nothing was downloaded."""
        return FileTable()

    def step(self, state_: FileTable, inp: Input) -> list[Effect]:
        """See `actors.files.state`."""
        return state.step(state_, inp)

    async def on_start(self) -> None:
        """Make the area ready; downloads of a predecessor have come to nothing."""
        with _sentences(UnavailableError):
            self.area.prepare()
            self._forget_vanished()

    async def on_stop(self) -> None:
        """Interrupt what is under way."""
        await self.downloads.close()

    # --- looking

    def _find(self, name: Name) -> Found | None:
        with _sentences():
            return self.area.find(name)

    def _local(self, name: Name, found: Found | None, called: str) -> LocalFile:
        if found is None:
            raise NotFoundError(f"file not found: {called}")
        if not (found.is_file or found.is_directory):
            raise InvalidError(f"{called} is neither a file nor a directory")
        return LocalFile(path=self.area.path(name), size_bytes=found.size_bytes)

    @query
    async def get_file(self, msg: GetFile, request: RequestContext) -> LocalFile:
        """A file that is here, or will be when its download has ended."""
        name = file_name(msg.name, self._root)
        found = self._find(name)
        if found is None:
            await self.downloads.settled(name)
            found = self._find(name)
        return self._local(name, found, quoted(msg.name))

    @query
    async def get_files(self, msg: GetFiles, request: RequestContext) -> FileNames:
        """All that a pattern means."""
        pattern = file_name(msg.pattern, self._root)
        if any(covers(pattern, name) or name == pattern for name in self.downloads.under_way):
            raise ConflictError(f"file already in flight: {quoted(msg.pattern)}")
        if self._find(pattern) is not None:  # also by links, which patterns do not follow
            return FileNames(names=("/".join(pattern),))
        with _sentences():
            names = await asyncio.to_thread(self.area.match, pattern)
        if not names:
            raise NotFoundError(f"file not found: {quoted(msg.pattern)}")
        return FileNames(names=tuple(_text("/".join(name)) for name in names[:MAX_NAMED]))

    @query
    async def list_files(self, msg: ListFiles, request: RequestContext) -> FileList:
        """One directory."""
        name = area_name(msg.path, self._root)
        with _sentences():
            found = await asyncio.to_thread(self.area.entries, name)
        if found is None:
            raise NotFoundError(f"file not found: {quoted(msg.path)}")
        entries = tuple(
            FileEntry(name=_text(entry.name), size_bytes=entry.size_bytes, is_directory=entry.is_directory)
            for entry in found[:MAX_ENTRIES]
        )
        return FileList(entries=entries, left_out=len(found) - len(entries))

    @query
    async def match_files(self, msg: MatchFiles, request: RequestContext) -> FileNames:
        """For completion; names that cannot be typed are left out."""
        directory, slash, partial = msg.prefix.rpartition("/")
        try:
            name = area_name(directory, self._root)
            with _sentences():
                found = self.area.find(name)
                entries = await asyncio.to_thread(self.area.entries, name) if found and found.is_directory else []
        except BusError:
            entries = []
        names = sorted(
            f"{directory}{slash}{entry.name}{'/' * entry.is_directory}"
            for entry in entries or ()
            if entry.name.startswith(partial) and entry.name.isprintable()
        )
        return FileNames(names=tuple(names[:MAX_NAMES]))

    # --- downloading

    @query
    async def fetch_url(self, msg: FetchUrl, request: RequestContext) -> LocalFile:
        """A file that is here, or is downloaded now."""
        try:
            url = split_url(msg.url)
        except UrlError as error:
            raise InvalidError(str(error)) from None
        digest = url_digest(url)
        with _sentences(ConflictError):
            choice = state.choose(url_name(url), digest, self.area.find, self.state.origins, self.downloads.under_way)
            if not choice.is_there:
                self.area.check_place(choice.name)
        if not choice.is_there:
            await self.downloads.fetch(url, choice.name, digest, request.msg_id)
        found = self._find(choice.name)
        if found is not None and not found.is_file:
            raise ConflictError(f"{shown(choice.name)} is in the way: it is not a file")
        return self._local(choice.name, found, shown(choice.name))

    @query
    async def get_transfers(self, msg: GetTransfers, request: RequestContext) -> TransferList:
        """Under way, waiting, failed."""
        return TransferList(transfers=self.downloads.transfers())

    def file_complete(self, name: Name, origin: Origin) -> None:
        """Note where a file came from, before it is in its place."""
        self.feed(Fetched(name="/".join(name), origin=origin))

    def transfer_changed(self, what: str, transfer: Transfer, cause: str) -> None:
        """Tell the world."""
        self.publish(file_topic(self.context.host, what), TransferChanged(transfer=transfer), cause=cause)
        if what == "failed":
            self.log.warn("download_failed", path=transfer.path, error=transfer.error)

    # --- deleting

    async def carry_out(self, effect: Effect) -> None:
        """Deletions run beside each other: one may take minutes."""
        match effect:
            case Delete():
                self.spawn(self._delete(effect), name="delete")
            case _:
                await super().carry_out(effect)

    async def _delete(self, effect: Delete) -> None:
        try:
            with _sentences():
                await asyncio.to_thread(self._delete_all, effect.pattern)
        except BusError as error:
            self.feed(Deleted(msg_id=effect.msg_id, code=error.code, error=str(error)))
        else:
            self.feed(Deleted(msg_id=effect.msg_id))
        with contextlib.suppress(OSError):  # then it is done at the next start
            self._forget_vanished()

    def _delete_all(self, pattern: str) -> None:
        name = deletable(pattern, self._root)
        names = self.area.match(name) if name else [(entry.name,) for entry in self.area.entries(()) or ()]
        problem = ""
        for doomed in names:
            try:
                self.area.delete(doomed)
            except OSError as error:
                problem = problem or f"cannot delete {shown(doomed)}: {error.strerror}"
        if problem:
            raise UnavailableError(problem)

    def _forget_vanished(self) -> None:
        gone = tuple(name for name in self.state.origins if not self._is_there(name))
        if gone:
            self.feed(Vanished(names=gone))

    def _is_there(self, name: str) -> bool:
        try:
            return self.area.find(tuple(name.split("/"))) is not None
        except AreaError:
            return False


def _text(name: str) -> str:
    """A name as it may travel: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
