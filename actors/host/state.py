"""The pure core of the `host` actor: which programs may run, which jobs there are, and how each request is answered."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from actors.host.table import (
    Adopt,
    DropOutput,
    EndJobs,
    HostTable,
    Job,
    JobEnded,
    JobRefused,
    JobStarted,
    KeepOutput,
    Kill,
    KillDone,
    Located,
    ProgramEnded,
    RunIt,
    SpawnJob,
)
from bus.actor.step import Effect, Fail, Input, Publish, Received, Recovered, Reply, not_understood
from bus.exit_status import describe_exit
from bus.messages.base import Ack
from bus.messages.host import ClearJobs, JobChanged, JobInfo, JobList, KillJobs, RunProgram, StartJob
from bus.messages.host import Job as JobReply
from bus.topics import job_topic

MAX_JOBS = 1_000
"""Running at a time."""
MAX_PROGRAMS = 100
"""That somebody waits for, at a time: each may keep some MiB of output in memory."""
KEEP_ENDED = 50
"""Ended jobs that are remembered."""
MAX_ARGUMENTS = 2 * 1024 * 1024
"""Bytes of arguments and environment together: a quarter of the usual stack limit (execve(2))."""
SHOWN_ARGUMENTS = 4096
"""Characters of a job's command that are remembered."""
UNSEEN = "exit status unknown"


def step(table: HostTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    match inp:
        case Received():
            return _request(table, inp)
        case ProgramEnded(msg_id=msg_id):
            return _program_ended(table, inp) if table.programs.pop(msg_id, None) is not None else []
        case JobStarted(job_id=job_id, pid=pid, ticks=ticks):
            return _job_started(table, table.jobs[job_id], pid, ticks, inp.time_s)
        case JobRefused(job_id=job_id, code=code, message=message):
            return _forget_unstarted(table, job_id, code, message)
        case JobEnded(job_id=job_id, exit_status=exit_status):
            return _job_ended(table, job_id, exit_status, inp.time_s)
        case KillDone():
            return _kill_done(table, inp)
        case Located(host=host, tag=tag, boot_id=boot_id):
            return _located(table, host, tag, boot_id, inp.time_s)
        case Recovered():
            return _recovered(table)
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")


# ---------------------------------------------------------------- requests


def _request(table: HostTable, inp: Received) -> list[Effect]:
    match inp.body:
        case RunProgram(argv=argv, env=env):
            problem = _problem(argv, env)
            if problem:
                return [Fail(msg_id=inp.msg_id, code="invalid", message=problem)]
            if len(table.programs) >= MAX_PROGRAMS:
                sentence = f"{MAX_PROGRAMS} programs are waited for already; run it with `background`, or wait for one"
                return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
            table.programs[inp.msg_id] = _shortened(argv)[0]
            return [RunIt(msg_id=inp.msg_id, argv=argv, env=env)]
        case StartJob(argv=argv, env=env):
            return _start_job(table, inp, argv, env)
        case KillJobs(job_id=job_id):
            return _kill_jobs(table, inp.msg_id, job_id)
        case ClearJobs():
            ended = tuple(job_id for job_id, job in table.jobs.items() if not job.info.running)
            return [*_forget(table, ended), Reply(msg_id=inp.msg_id, body=Ack())]
        case _:
            return [not_understood("host", inp)]


def _problem(argv: tuple[str, ...], env: dict[str, str]) -> str:
    """Why this cannot be a program's arguments and environment; empty if it can."""
    if not argv:
        return "which program? there is none in the request"
    texts = [*argv, *env, *env.values()]
    if any("\0" in text for text in texts):
        return "an argument or variable holds a NUL byte, which no program can be given"
    if any(not name or "=" in name for name in env):
        return "the name of an environment variable is empty or holds a `=`"
    if sum(len(text.encode()) + 9 for text in texts) > MAX_ARGUMENTS:  # the closing NUL and a pointer each
        return f"arguments and environment are longer than {MAX_ARGUMENTS} bytes together: put them in a file"
    return ""


def _shortened(argv: tuple[str, ...]) -> tuple[str, ...]:
    """As much of a command as is worth remembering."""
    kept: list[str] = []
    room = SHOWN_ARGUMENTS
    for word in argv:
        if len(word) >= room:
            return (*kept, f"{word[:room]}...")
        kept.append(word)
        room -= len(word) + 1
    return tuple(kept)


def _start_job(table: HostTable, inp: Received, argv: tuple[str, ...], env: dict[str, str]) -> list[Effect]:
    problem = _problem(argv, env)
    if problem:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=problem)]
    if sum(job.info.running for job in table.jobs.values()) >= MAX_JOBS:
        sentence = f"{MAX_JOBS} background processes are running already; end one with `background-kill`"
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
    job_id, table.next_job_id = table.next_job_id, table.next_job_id + 1
    mark = f"{table.tag}-{job_id}-{inp.seed:x}"
    info = JobInfo(job_id=job_id, argv=_shortened(argv), pid=0, running=True, started_s=inp.time_s)
    table.jobs[job_id] = Job(info=info, mark=mark, request=inp.msg_id)
    return [SpawnJob(job_id=job_id, argv=argv, env=env, mark=mark)]


def _kill_jobs(table: HostTable, msg_id: str, job_id: int) -> list[Effect]:
    """Jobs that have ended may have left children behind: those are ended as well."""
    if job_id >= 0 and job_id not in table.jobs:
        return [Fail(msg_id=msg_id, code="not_found", message=no_such_job(job_id))]
    job_ids = tuple(table.jobs) if job_id < 0 else (job_id,)
    if not job_ids:
        return [Reply(msg_id=msg_id, body=JobList(jobs=()))]
    running = tuple(number for number in job_ids if table.jobs[number].info.running)
    table.kills[msg_id] = Kill(job_ids=job_ids, running=running, named=job_id >= 0)
    return [EndJobs(msg_id=msg_id, job_ids=job_ids)]


def no_such_job(job_id: int) -> str:
    """The sentence for an id that is not known."""
    return f"no background process {job_id}: `background-status` lists them"


# ---------------------------------------------------------------- what came of it


def _program_ended(table: HostTable, inp: ProgramEnded) -> list[Effect]:
    if inp.code:
        return [Fail(msg_id=inp.msg_id, code=inp.code, message=inp.message)]
    return [Reply(msg_id=inp.msg_id, body=inp.result)]


def _changed(table: HostTable, info: JobInfo) -> Publish:
    return Publish(topic=job_topic(table.host, info.job_id), event=JobChanged(job=info))


def _job_started(table: HostTable, job: Job, pid: int, ticks: int, time_s: float) -> list[Effect]:
    job.ticks = ticks
    job.info = msgspec.structs.replace(job.info, pid=pid, started_s=time_s)
    msg_id, job.request = job.request, ""
    return [_changed(table, job.info), Reply(msg_id=msg_id, body=JobReply(job=job.info))]


def _forget_unstarted(table: HostTable, job_id: int, code: str, message: str) -> list[Effect]:
    job = table.jobs.pop(job_id)
    return [DropOutput(job_ids=(job_id,)), Fail(msg_id=job.request, code=code, message=message)]


def _job_ended(table: HostTable, job_id: int, exit_status: int | None, time_s: float) -> list[Effect]:
    job = table.jobs.get(job_id)
    if job is None or not job.info.running:
        return []
    if job.starting:
        sentence = f"`{job.info.argv[0]}` may or may not have run: the host actor was restarted while it started it"
        return _forget_unstarted(table, job_id, "deadline", sentence)
    how = UNSEEN if exit_status is None else describe_exit(exit_status) if exit_status else ""
    job.info = msgspec.structs.replace(job.info, running=False, ended_s=time_s, error=how)
    return [_changed(table, job.info), *_forget_oldest(table)]


def _forget_oldest(table: HostTable) -> list[Effect]:
    busy = {job_id for kill in table.kills.values() for job_id in kill.job_ids}
    ended = [job for job in table.jobs.values() if not job.info.running and job.info.job_id not in busy]
    ended.sort(key=lambda job: job.info.ended_s)
    return _forget(table, tuple(job.info.job_id for job in ended[: max(0, len(ended) - KEEP_ENDED)]))


def _forget(table: HostTable, job_ids: Iterable[int]) -> list[Effect]:
    forgotten = tuple(job_ids)
    for job_id in forgotten:
        del table.jobs[job_id]
    return [DropOutput(job_ids=forgotten)] if forgotten else []


def _kill_done(table: HostTable, inp: KillDone) -> list[Effect]:
    kill = table.kills.pop(inp.msg_id)
    if inp.left:
        pids = ", ".join(map(str, inp.left[:20]))
        sentence = f"SIGKILL has not ended these processes yet: {pids}"
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
    if kill.named and not kill.running and not inp.found:
        sentence = f"background process {kill.job_ids[0]} has ended already"
        return [Fail(msg_id=inp.msg_id, code="conflict", message=sentence)]
    ended = tuple(table.jobs[job_id].info for job_id in kill.running if job_id in table.jobs)
    return [Reply(msg_id=inp.msg_id, body=JobList(jobs=ended)), *_forget_oldest(table)]


# ---------------------------------------------------------------- after a start


def _located(table: HostTable, host: str, tag: str, boot_id: str, time_s: float) -> list[Effect]:
    rebooted = table.boot_id not in ("", boot_id)
    table.host, table.tag, table.boot_id = host, tag, boot_id
    if not rebooted:
        return []
    running = [job_id for job_id, job in table.jobs.items() if job.info.running]
    return [effect for job_id in running for effect in _job_ended(table, job_id, None, time_s)]


def _recovered(table: HostTable) -> list[Effect]:
    """Nobody waits for the programs any more; the jobs are looked for, and those that were being ended are ended."""
    effects: list[Effect] = [
        Fail(msg_id=msg_id, code="deadline", message=f"`{name}` ran when the host actor was restarted: outcome unknown")
        for msg_id, name in table.programs.items()
    ]
    table.programs.clear()
    effects.append(KeepOutput(job_ids=tuple(table.jobs)))
    effects += [
        Adopt(job_id=job_id, mark=job.mark, pid=job.info.pid, ticks=job.ticks, ended=not job.info.running)
        for job_id, job in table.jobs.items()
    ]
    effects += [EndJobs(msg_id=msg_id, job_ids=kill.job_ids) for msg_id, kill in table.kills.items()]
    return effects
