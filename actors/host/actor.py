"""Shell of the host actor: runs what the step wants run, answers questions about jobs and about the host."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

from actors.host.jobs import Jobs
from actors.host.state import no_such_job, step
from actors.host.table import (
    Adopt,
    DropOutput,
    EndJobs,
    HostTable,
    JobEnded,
    JobRefused,
    JobStarted,
    KeepOutput,
    KillDone,
    Located,
    ProgramEnded,
    RunIt,
    SpawnJob,
)
from bus.actor.base import RequestContext, query
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.errors import NotFoundError, UnavailableError
from bus.messages.base import Message
from bus.messages.host import (
    CheckHost,
    ClearJobs,
    GetJobOutput,
    GetJobs,
    HostReport,
    JobList,
    JobOutput,
    KillJobs,
    ProgramResult,
    RunProgram,
    StartJob,
)
from bus.paths import Context
from shims.doctor import host_check
from shims.linux.process import start_ticks
from shims.programs import job_output, process
from shims.programs.process_tree import Tree

MAX_OUTPUT = 8 * 1024 * 1024
"""Bytes kept of what a program says that somebody waits for."""
REMEMBERED_OUTPUT = 4096
"""Characters of each stream kept for a repeat of the request."""
KILL_GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""
STOP_GRACE_S = 1.5
"""Likewise when the node ends, which waits for `bus.node.lifecycle.STOP_GRACE_S`."""


class HostActor(StepActor[HostTable]):
    """See the module."""

    kind = "host"
    state_type = HostTable
    requests = (RunProgram, StartJob, KillJobs, ClearJobs)

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        super().__init__(context, lane_socket)
        self._jobs = Jobs(
            context.paths.run / "jobs",
            self.lane,
            self.log,
            on_ended=lambda job_id, status: self.feed(JobEnded(job_id=job_id, exit_status=status)),
            spawn=lambda work, name: self.spawn(work, name=name),
        )
        self._programs: dict[str, Tree] = {}
        """Running programs that somebody waits for, by id of the request."""
        self._results: dict[str, ProgramResult] = {}
        """What they said, whole, until it is sent."""

    def initial_state(self) -> HostTable:
        """No jobs."""
        return HostTable()

    def step(self, state: HostTable, inp: Input) -> list[Effect]:
        """See actors/host/state.py."""
        return step(state, inp)

    async def on_start(self) -> None:
        """Take back the jobs' pipes, and say what this host lacks."""
        await self._jobs.restore()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.feed(Located(host=self.context.host, tag=self.context.tag, boot_id=boot_id))
        for finding in (await self._check()).findings:
            if not finding.present:
                level = self.log.error if finding.required else self.log.warn
                level("host_lacks", what=finding.name, disables=finding.disables, remedy=finding.remedy)

    async def on_stop(self) -> None:
        """End what runs, unless this is a crash: of the node, or of this actor."""
        if not self.lane.lost and not self.exit_status:
            running, waited = self._jobs.running, tuple(self._programs.values())
            if running or waited:
                self.log.warn("programs_ended_by_stop", jobs=running, programs=len(waited))
            ending = await self._jobs.end(self._jobs.known, STOP_GRACE_S, waited)
            if ending.left:
                self.log.error("programs_do_not_end", pids=" ".join(map(str, ending.left)))
        self._jobs.close()

    def on_node_event(self, packet: dict[str, Any]) -> None:
        """An orphan has been reaped."""
        if packet.get("type") == "reaped":
            self._jobs.reaped(int(packet["pid"]), int(packet["status"]))

    # --- effects

    async def carry_out(self, effect: Effect) -> None:
        """What takes time goes on beside the others."""
        match effect:
            case RunIt():
                self._run(effect)
            case SpawnJob():
                self._start_job(effect)
            case Adopt(ended=True):
                self._jobs.adopt_ended(effect.job_id, effect.mark)
            case Adopt():
                self._adopt(effect)
            case EndJobs(msg_id=msg_id):
                self.spawn(self._end_jobs(effect), name=f"end {msg_id}")
            case DropOutput(job_ids=job_ids):
                self._jobs.drop(job_ids)
            case KeepOutput(job_ids=job_ids):
                self._jobs.keep_only(job_ids)
            case _:
                await super().carry_out(effect)

    def _run(self, effect: RunIt) -> None:
        try:
            program = process.Program(effect.argv, process.environment(effect.env), MAX_OUTPUT)
        except process.NotStartedError as error:
            self.feed(ProgramEnded(msg_id=effect.msg_id, code=_code(error), message=str(error)))
            return
        self._programs[effect.msg_id] = Tree("", program.pid, start_ticks(program.pid))
        self.spawn(self._wait_for(effect.msg_id, program), name=f"program {effect.msg_id}")

    async def _wait_for(self, msg_id: str, program: process.Program) -> None:
        try:
            outcome = await program.outcome()
        finally:
            del self._programs[msg_id]
        whole = ProgramResult(
            stdout=outcome.stdout.decode("utf-8", "replace"),
            stderr=outcome.stderr.decode("utf-8", "replace"),
            exit_status=outcome.exit_status,
            truncated=outcome.truncated,
        )
        self._results[msg_id] = whole
        self.feed(ProgramEnded(msg_id=msg_id, result=remembered(whole)))

    def outgoing(self, msg_id: str, body: Message) -> Message:
        """All that a program said, of which only the beginning is remembered."""
        return self._results.pop(msg_id, body)

    def _start_job(self, effect: SpawnJob) -> None:
        try:
            pid, ticks = self._jobs.start(effect.job_id, effect.argv, effect.env, effect.mark)
        except process.NotStartedError as error:
            self.feed(JobRefused(job_id=effect.job_id, code=_code(error), message=str(error)))
            return
        self.feed(JobStarted(job_id=effect.job_id, pid=pid, ticks=ticks))

    def _adopt(self, effect: Adopt) -> None:
        tree = self._jobs.adopt(effect.job_id, Tree(effect.mark, effect.pid, effect.ticks))
        if tree is None:
            self.feed(JobEnded(job_id=effect.job_id))
        elif not effect.pid:
            self.feed(JobStarted(job_id=effect.job_id, pid=tree.pid, ticks=tree.ticks))

    async def _end_jobs(self, effect: EndJobs) -> None:
        ending = await self._jobs.end(effect.job_ids, KILL_GRACE_S)
        self.feed(KillDone(msg_id=effect.msg_id, found=ending.found, left=ending.left))

    # --- questions

    @query
    async def get_jobs(self, msg: GetJobs, request: RequestContext) -> JobList:
        """All jobs that have been started."""
        return JobList(jobs=tuple(job.info for job in self.state.jobs.values() if not job.starting))

    @query
    async def get_job_output(self, msg: GetJobOutput, request: RequestContext) -> JobOutput:
        """What is kept of a stream."""
        if msg.job_id not in self.state.jobs:
            raise NotFoundError(no_such_job(msg.job_id))
        try:
            data, lost = await asyncio.to_thread(job_output.read, self._jobs.directory(msg.job_id), msg.stream.value)
        except OSError as error:
            raise UnavailableError(f"cannot read the output of job {msg.job_id}: {error.strerror}") from error
        return JobOutput(text=data.decode("utf-8", "replace"), truncated=lost)

    @query
    async def check_host(self, msg: CheckHost, request: RequestContext) -> HostReport:
        """What this host has and lacks."""
        return await self._check()

    async def _check(self) -> HostReport:
        return HostReport(findings=host_check.check())


def remembered(whole: ProgramResult) -> ProgramResult:
    """As much of a result as is kept for a repeat."""
    cut = max(len(whole.stdout), len(whole.stderr)) > REMEMBERED_OUTPUT
    return ProgramResult(
        stdout=whole.stdout[:REMEMBERED_OUTPUT],
        stderr=whole.stderr[:REMEMBERED_OUTPUT],
        exit_status=whole.exit_status,
        truncated=whole.truncated or cut,
    )


def _code(error: process.NotStartedError) -> str:
    return "not_found" if error.missing else "unavailable"
