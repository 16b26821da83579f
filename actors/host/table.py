"""What the `host` actor must not forget, and the inputs and effects of its step."""

from __future__ import annotations

import msgspec

from bus.actor.step import Effect, Input
from bus.messages.host import JobInfo, ProgramResult


class Job(msgspec.Struct, kw_only=True):
    """One background job, from the request until it is forgotten."""

    info: JobInfo
    mark: str
    """In the environment of all its processes: see `shims.programs.process_tree`."""
    ticks: int = 0
    """When its program started, in clock ticks since boot; 0 until it has."""
    request: str = ""
    """Who is to be told that it has started; empty since."""

    @property
    def starting(self) -> bool:
        """Asked for, and nobody knows yet whether there is a process."""
        return bool(self.request)


class Kill(msgspec.Struct, kw_only=True):
    """A request to end jobs."""

    job_ids: tuple[int, ...]
    """All that are to have no process left."""
    running: tuple[int, ...]
    """Those of them that ran when it came."""
    named: bool
    """It named one job, and not all."""


class HostTable(msgspec.Struct, kw_only=True):
    """State of the actor."""

    host: str = ""
    tag: str = ""
    boot_id: str = ""
    """Of the boot that the pids are of."""
    next_job_id: int = 1
    jobs: dict[int, Job] = {}
    """Oldest first."""
    programs: dict[str, str] = {}
    """Programs that somebody waits for: id of the request to the program's name."""
    kills: dict[str, Kill] = {}
    """By id of the request."""


# ---------------------------------------------------------------- inputs


class Located(Input, frozen=True, kw_only=True, tag="host.located"):
    """First input of every start: where the actor runs, and since when."""

    host: str
    tag: str
    boot_id: str


class ProgramEnded(Input, frozen=True, kw_only=True, omit_defaults=True, tag="host.program_ended"):
    """A program that somebody waits for has ended, or did not start: then `code` and `message` say why."""

    msg_id: str
    result: ProgramResult = ProgramResult()
    """With as much of its output as is worth remembering."""
    code: str = ""
    message: str = ""


class JobStarted(Input, frozen=True, kw_only=True, tag="host.job_started"):
    """A job's program runs."""

    job_id: int
    pid: int
    ticks: int


class JobRefused(Input, frozen=True, kw_only=True, tag="host.job_refused"):
    """A job's program did not start."""

    job_id: int
    code: str
    message: str


class JobEnded(Input, frozen=True, kw_only=True, omit_defaults=True, tag="host.job_ended"):
    """A job's program has ended, or has been found gone; `exit_status` is None if nobody saw how."""

    job_id: int
    exit_status: int | None = None


class KillDone(Input, frozen=True, kw_only=True, omit_defaults=True, tag="host.kill_done"):
    """All that could be done to end some jobs has been done; `left` are processes that are still there."""

    msg_id: str
    found: int = 0
    """Processes that were there to be ended."""
    left: tuple[int, ...] = ()


# ---------------------------------------------------------------- effects


class RunIt(Effect, frozen=True, kw_only=True):
    """Run a program to its end; comes back as `ProgramEnded`."""

    msg_id: str
    argv: tuple[str, ...]
    env: dict[str, str]


class SpawnJob(Effect, frozen=True, kw_only=True):
    """Start a job's program; comes back as `JobStarted` or `JobRefused`, and later `JobEnded`."""

    job_id: int
    argv: tuple[str, ...]
    env: dict[str, str]
    mark: str


class Adopt(Effect, frozen=True, kw_only=True):
    """Find a job of an earlier process of this actor; comes back as `JobStarted` if it was starting, or `JobEnded`.

    One that has ended is known to be so; children may have outlived its program, and are read on.
    """

    job_id: int
    mark: str
    pid: int
    ticks: int
    ended: bool


class EndJobs(Effect, frozen=True, kw_only=True):
    """End jobs with all their processes; comes back as `JobEnded` for each, and then `KillDone`."""

    msg_id: str
    job_ids: tuple[int, ...]


class DropOutput(Effect, frozen=True, kw_only=True):
    """Remove what forgotten jobs have written."""

    job_ids: tuple[int, ...]


class KeepOutput(Effect, frozen=True, kw_only=True):
    """Remove the output of all jobs but these: after a start."""

    job_ids: tuple[int, ...]
