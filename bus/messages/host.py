"""What a host is and does for its users: programs they run on it, and whether it has what minibus needs."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


class ProgramResult(Message, frozen=True, kw_only=True, omit_defaults=True, tag="host.program.ended"):
    """What a program said and how it ended."""

    stdout: str = ""
    """Bytes that are not UTF-8 become U+FFFD."""
    stderr: str = ""
    exit_status: int = 0
    """Negative: the number of the signal that ended it."""
    truncated: bool = False
    """It said more than is kept: 8 MiB, or for a repeat of the request 4,096 characters of each stream."""


class RunProgram(Request[ProgramResult], frozen=True, kw_only=True, omit_defaults=True, tag="host.program.run"):
    """Run a program and wait for its end. No shell: its first word is looked up in PATH; `not_found` if that fails.

    It goes on if the asker leaves. If the actor is restarted meanwhile, the outcome is unknown.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    """Laid over the actor's environment; an empty value removes a variable."""


class JobInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program in the background."""

    job_id: int
    argv: tuple[str, ...]
    """Shortened beyond 4,096 characters."""
    pid: int
    running: bool
    started_s: float
    """UTC."""
    ended_s: float = 0.0
    error: str = ""
    """How it failed, in one sentence; empty while it runs and after exit status 0."""


class Job(Message, frozen=True, kw_only=True, tag="host.job"):
    """One background job."""

    job: JobInfo


class JobList(Message, frozen=True, kw_only=True, tag="host.jobs"):
    """Background jobs by id: all that run, and the last that ended."""

    jobs: tuple[JobInfo, ...]


class StartJob(Request[Job], frozen=True, kw_only=True, omit_defaults=True, tag="host.job.start"):
    """Start a program and do not wait for it; `not_found` if there is no such program."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    """As in RunProgram."""


class GetJobs(Query[JobList], frozen=True, kw_only=True, tag="host.jobs.get"):
    """Which background jobs are there?"""


class JobStream(StrEnum):
    """What a job writes to."""

    STDOUT = "stdout"
    STDERR = "stderr"


class JobOutput(Message, frozen=True, kw_only=True, omit_defaults=True, tag="host.job.output"):
    """What a job has written so far."""

    text: str
    truncated: bool = False
    """Only the last part is kept."""


class GetJobOutput(Query[JobOutput], frozen=True, kw_only=True, tag="host.job.output.get"):
    """What has a job written? `not_found` if there is no such job."""

    job_id: int
    stream: JobStream


class KillJobs(Request[JobList], frozen=True, kw_only=True, omit_defaults=True, tag="host.jobs.kill"):
    """End one job with all its children, or all jobs; answers with the jobs that ran, when they have ended.

    SIGTERM, and SIGKILL after 5 seconds. `conflict` if the job has ended already and left no children.
    """

    job_id: int = -1
    """-1 for all."""


class ClearJobs(Request[Ack], frozen=True, kw_only=True, tag="host.jobs.clear"):
    """Forget the jobs that have ended."""


class JobChanged(Event, frozen=True, kw_only=True, tag="host.job.changed"):
    """A job was started or has ended; on `node/<host>/job/<id>/`."""

    job: JobInfo


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that minibus can make use of."""

    name: str
    """A program or a kernel feature."""
    present: bool
    required: bool = False
    """Without it nothing works; otherwise only `disables` is lost."""
    disables: str = ""
    """What cannot be done without it."""
    remedy: str = ""
    """How to get it."""


class HostReport(Message, frozen=True, kw_only=True, tag="host.report"):
    """What was looked for on a host."""

    findings: tuple[Finding, ...]


class CheckHost(Query[HostReport], frozen=True, kw_only=True, tag="host.check"):
    """Does this host have what minibus needs?"""
