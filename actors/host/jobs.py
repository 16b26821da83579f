"""The background jobs of this process: programs, output, end. What is decided about them is in `state`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bus.logs.logs import Log
from bus.node.control import ControlLane
from shims.linux.process import open_pidfd, start_ticks
from shims.programs import job_output, process, process_tree
from shims.programs.job_output import JobOutput
from shims.programs.process import Started
from shims.programs.process_tree import Ending, Tree

REAPED_S = 2.0
"""How long the node may take to tell how an orphan ended."""
SEEN_S = 2.0
"""How long it may take until the end of a program that is gone has been noted."""
KEEP_REAPED = 2048
"""Statuses of orphans kept, since one may come before it is asked for."""


@dataclass(eq=False)
class _Job:
    tree: Tree
    output: JobOutput
    program: Started | None = None
    """None if an earlier process of this actor started it."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Jobs:
    """See the module. `on_ended` gets the number and the exit status, None if nobody knows it."""

    def __init__(
        self,
        directory: Path,
        lane: ControlLane,
        log: Log,
        *,
        on_ended: Callable[[int, int | None], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        self._directory = directory
        self._lane = lane
        self._log = log
        self._on_ended = on_ended
        self._spawn = spawn
        self._jobs: dict[int, _Job] = {}
        self._stored: dict[str, int] = {}
        self._reaped: dict[int, int] = {}
        self._asked: dict[int, asyncio.Future[int]] = {}

    async def restore(self) -> None:
        """Take back the ends of the pipes that the node kept."""
        self._stored = await self._lane.fetch_fds()

    def directory(self, job_id: int) -> str:
        """Where the output of a job is."""
        return str(self._directory / str(job_id))

    @property
    def running(self) -> int:
        """How many jobs have a program that has not ended."""
        return sum(not job.ended.is_set() for job in self._jobs.values())

    @property
    def known(self) -> tuple[int, ...]:
        """All jobs; children of those that have ended may still be there."""
        return tuple(self._jobs)

    # --- beginning

    def start(self, job_id: int, argv: Sequence[str], env: Mapping[str, str], mark: str) -> tuple[int, int]:
        """Start a job's program; its pid and start in ticks. Raises NotStartedError, and then nothing is left."""
        output = self._output(job_id)
        try:
            stdout, stderr = output.create()
        except OSError as error:
            raise process.NotStartedError(
                f"cannot keep the output of a job: {error.strerror}: {error.filename}"
            ) from error
        try:
            whole = {**process.environment(env), process_tree.MARK: mark}
            program = process.start(argv, whole, stdout=stdout, stderr=stderr)
        except process.NotStartedError:
            output.remove()
            raise
        finally:
            os.close(stdout)
            os.close(stderr)
        for name, fd in output.descriptors().items():
            self._lane.store_fd(_stored_name(job_id, name), fd)
        pid, ticks = program.pid, start_ticks(program.pid)
        self._reaped.pop(pid, None)
        self._jobs[job_id] = _Job(Tree(mark, pid, ticks), output, program)
        self._watch(job_id, os.pidfd_open(pid))
        return pid, ticks

    def adopt_ended(self, job_id: int, mark: str) -> None:
        """Read on what children write that have outlived their program."""
        self._jobs[job_id] = job = _Job(Tree(mark), self._resumed(job_id))
        job.ended.set()

    def adopt(self, job_id: int, tree: Tree) -> Tree | None:
        """Follow a job of an earlier process of this actor; None if it never started, as far as can be seen.

        Its end is told in any case where there was a pid.
        """
        output = self._resumed(job_id)
        if not tree.pid:
            pid = process_tree.find_leader(tree.mark)
            if not pid:
                output.close()
                return None
            tree = Tree(tree.mark, pid, start_ticks(pid))
        self._jobs[job_id] = _Job(tree, output)
        try:
            pidfd = open_pidfd(tree.pid, tree.ticks)
        except OSError:
            pidfd = -1
        self._watch(job_id, pidfd)
        return tree

    def keep_only(self, job_ids: Iterable[int]) -> None:
        """Remove the output of all other jobs, and let go of what the node kept of them."""
        known = {str(job_id) for job_id in job_ids}
        with contextlib.suppress(FileNotFoundError):
            for entry in self._directory.iterdir():
                if entry.name not in known:
                    job_output.remove(str(entry))
        for name in [name for name in self._stored if name.split("-")[1] not in known]:
            os.close(self._stored.pop(name))
            self._lane.drop_fd(name)

    def _resumed(self, job_id: int) -> JobOutput:
        output = self._output(job_id)
        output.resume({name: self._stored.pop(_stored_name(job_id, name), -1) for name in job_output.STREAMS})
        return output

    def _output(self, job_id: int) -> JobOutput:
        def lost(error: OSError) -> None:
            self._log.error("job_output_lost", job_id=job_id, error=str(error))

        def ended(stream: str) -> None:
            self._lane.drop_fd(_stored_name(job_id, stream))

        return JobOutput(self.directory(job_id), on_lost=lost, on_end=ended)

    # --- ending

    def _watch(self, job_id: int, pidfd: int) -> None:
        self._spawn(self._follow(job_id, self._jobs[job_id], pidfd), f"job {job_id}")

    async def _follow(self, job_id: int, job: _Job, pidfd: int) -> None:
        if pidfd >= 0:
            try:
                await process.wait_for_end(pidfd)
            finally:
                os.close(pidfd)
        job.output.drain()
        status = await self._status(job.tree.pid) if job.program is None else job.program.wait()
        job.tree = Tree(job.tree.mark)
        self._on_ended(job_id, status)
        job.ended.set()

    async def _status(self, pid: int) -> int | None:
        """How an orphan ended, as the node saw it; None if it did not."""
        if (known := self._reaped.pop(pid, None)) is not None or not self._lane.present:
            return known
        asked = self._asked[pid] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(asked, REAPED_S)
        except TimeoutError:
            return None
        finally:
            del self._asked[pid]

    def reaped(self, pid: int, wait_status: int) -> None:
        """The node has reaped an orphan of anybody's."""
        status = os.waitstatus_to_exitcode(wait_status)
        asked = self._asked.get(pid)
        if asked is not None and not asked.done():
            asked.set_result(status)
            return
        self._reaped[pid] = status
        while len(self._reaped) > KEEP_REAPED:
            del self._reaped[next(iter(self._reaped))]

    async def end(self, job_ids: Iterable[int], grace_s: float, also: Sequence[Tree] = ()) -> Ending:
        """End these jobs, and `also` these trees, with all their processes.

        When it returns, the end of every program that has ended has been told.
        """
        jobs = [job for job_id in job_ids if (job := self._jobs.get(job_id)) is not None]
        ending = await asyncio.to_thread(process_tree.end, [*(job.tree for job in jobs), *also], grace_s)
        for job in jobs:
            if job.tree.pid not in ending.left:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(job.ended.wait(), SEEN_S)
        return ending

    def drop(self, job_ids: Iterable[int]) -> None:
        """Remove the output of jobs that are forgotten."""
        for job_id in job_ids:
            job = self._jobs.pop(job_id, None)
            for name in job.output.descriptors() if job else ():
                self._lane.drop_fd(_stored_name(job_id, name))
            if job is not None:
                job.output.close()
            job_output.remove(self.directory(job_id))

    def close(self) -> None:
        """Stop reading; jobs that still run go on."""
        for job in self._jobs.values():
            job.output.close()
        for fd in self._stored.values():
            os.close(fd)
        self._stored.clear()


def _stored_name(job_id: int, stream: str) -> str:
    return f"job-{job_id}-{stream}"
