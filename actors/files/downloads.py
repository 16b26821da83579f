"""Downloads under way: one for each place in the file area, a few at a time; all who ask for one wait for the same."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from actors.files.state import Origin
from bus import errors
from bus.messages.files import Transfer
from shims.files.file_area import FileArea, Grown, Name
from shims.http.download import STALL_S, Download, DownloadError
from shims.http.url import HttpUrl

AT_ONCE: Final = 3
MAX_WAITING: Final = 1_000
"""Downloads not yet ended, before further ones are refused."""
PROGRESS_S: Final = 1.0
"""Between two events about one download."""
KEPT_FAILURES: Final = 20
ENDING_S: Final = 1.0
"""How long threads get to end when the actor does; what they leave behind its successor removes."""

T = TypeVar("T")


class Shell(Protocol):
    """What downloads need of the actor."""

    def transfer_changed(self, what: str, transfer: Transfer, cause: str) -> None:
        """A download has `started`, made `progress`, is `done` or has `failed`."""
        ...

    def file_complete(self, name: Name, origin: Origin) -> None:
        """A file is complete; after this it is put in its place."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run work beside the loop."""
        ...


class Job(NamedTuple):
    """A download that has not come to its end."""

    download: Download
    name: Name
    digest: str
    cause: str
    """The request that began it."""
    started: asyncio.Event
    ended: asyncio.Future[errors.BusError | None]


class Downloads:
    """See the module; belongs to one event loop."""

    def __init__(self, area: FileArea, shell: Shell, stall_s: float = STALL_S) -> None:
        self._area = area
        self._shell = shell
        self._stall_s = stall_s
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._jobs: dict[Name, Job] = {}
        self._failures: dict[Name, Transfer] = {}
        self._workers: set[asyncio.Future[Grown]] = set()
        self._closing = False

    @property
    def under_way(self) -> dict[Name, str]:
        """Places that are taken, with the digests of the URLs."""
        return {name: job.digest for name, job in self._jobs.items()}

    def transfers(self) -> tuple[Transfer, ...]:
        """Those under way, those that wait, the last failures, the newest of them first."""
        jobs = sorted(self._jobs.values(), key=lambda job: not job.started.is_set())
        return (*map(self._transfer, jobs), *reversed(self._failures.values()))

    async def fetch(self, url: HttpUrl, name: Name, digest: str, cause: str) -> None:
        """Have the file of a URL in its place; joins a download that is under way. Raises BusError."""
        job = self._jobs.get(name)
        if job is None:
            if len(self._jobs) >= MAX_WAITING:
                raise errors.OverloadedError(f"{MAX_WAITING} downloads are waiting already")
            job = Job(Download(url, self._stall_s), name, digest, cause, asyncio.Event(), asyncio.Future())
            self._jobs[name] = job
            self._failures.pop(name, None)
            self._shell.spawn(self._run(job), name="download")
        error = await asyncio.shield(job.ended)  # who gives up does not take the others along
        if error is not None:
            raise error

    async def settled(self, name: Name) -> None:
        """Wait for a download to this place to end, well or not; at once if there is none."""
        if (job := self._jobs.get(name)) is not None:
            await asyncio.shield(job.ended)

    async def close(self) -> None:
        """Interrupt all of them; who waits is told to ask again."""
        self._closing = True
        for job in self._jobs.values():
            job.download.abort("interrupted")
        if self._workers:
            await asyncio.wait(self._workers, timeout=ENDING_S)

    # --- one download

    async def _run(self, job: Job) -> None:
        error: errors.BusError | None = errors.CancelledError(_sentence(job, "interrupted"))
        try:
            async with self._slots:
                if self._closing:
                    return
                job.started.set()
                self._tell("started", job)
                error = await self._attempt(job)
        except Exception:
            error = errors.InternalError(_sentence(job, "internal error in files; its log has it"))
            raise
        finally:
            del self._jobs[job.name]
            if error is None:
                self._tell("done", job)
            elif not self._closing:
                self._fail(job, str(error))
            if not job.ended.done():
                job.ended.set_result(error)

    async def _attempt(self, job: Job) -> errors.BusError | None:
        try:
            self._put(job, await self._grow(job))
        except DownloadError as error:
            kind = errors.CancelledError if self._closing else errors.UnavailableError
            return kind(_sentence(job, str(error)))
        except OSError as error:
            return errors.UnavailableError(_sentence(job, error.strerror or "the file cannot be written"))
        return None

    async def _grow(self, job: Job) -> Grown:
        worker = _in_thread(lambda: self._area.grow(job.download.run), f"download {job.name[-1]}")
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)
        await self._watch(job, worker)
        return worker.result()

    async def _watch(self, job: Job, worker: asyncio.Future[Grown]) -> None:
        """Tell of progress, and end a download that makes none, whatever its server does instead."""
        loop = asyncio.get_running_loop()
        seen_bytes, seen_s = 0, loop.time()
        while not (await asyncio.wait({worker}, timeout=min(PROGRESS_S, self._stall_s / 2)))[0]:
            if job.download.received_bytes != seen_bytes:
                seen_bytes, seen_s = job.download.received_bytes, loop.time()
                self._tell("progress", job)
            elif loop.time() - seen_s >= self._stall_s:
                job.download.abort(f"no progress for {self._stall_s:g} seconds")

    def _put(self, job: Job, grown: Grown) -> None:
        found = grown.found
        # Noted before it is there: after a crash in between, a file is known for what it is.
        origin = Origin(job.digest, found.inode, found.size_bytes, found.mtime_ns)
        try:
            self._shell.file_complete(job.name, origin)
            self._area.place(grown.temporary, job.name)
        except BaseException:
            self._area.discard(grown.temporary)
            raise

    # --- telling

    def _transfer(self, job: Job, error: str = "") -> Transfer:
        return Transfer(
            source=job.download.url.public,
            path="/".join(job.name),
            done_bytes=job.download.received_bytes,
            total_bytes=job.download.total_bytes,
            queued=not job.started.is_set(),
            temporary=str(self._area.hidden) if job.started.is_set() and job.name in self._jobs else "",
            error=error,
        )

    def _tell(self, what: str, job: Job) -> None:
        self._shell.transfer_changed(what, self._transfer(job), job.cause)

    def _fail(self, job: Job, error: str) -> None:
        transfer = self._transfer(job, error)
        self._failures[job.name] = transfer
        while len(self._failures) > KEPT_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._shell.transfer_changed("failed", transfer, job.cause)


def _sentence(job: Job, reason: str) -> str:
    return f"cannot download {job.download.url.public}: {reason}"


def _in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run blocking work; unlike one of an executor, the thread does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
