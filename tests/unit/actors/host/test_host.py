"""The host actor's step: programs, background jobs, their end, what a restart makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from actors.host.actor import REMEMBERED_OUTPUT, remembered
from actors.host.state import KEEP_ENDED, MAX_ARGUMENTS, MAX_JOBS, MAX_PROGRAMS, SHOWN_ARGUMENTS, UNSEEN, step
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
from bus.actor.step import Effect, Fail, Input, Publish, Recovered, Reply
from bus.messages.base import Ack
from bus.messages.host import (
    ClearJobs,
    Job,
    JobChanged,
    JobInfo,
    JobList,
    KillJobs,
    ProgramResult,
    RunProgram,
    StartJob,
)
from bus.messages.vm import FlushVms
from tests.unit.actors.steps import only, play, received, replies, the, through_journal, through_snapshot

HERE = Located(host="h1", tag="ab2c", boot_id="boot-1", time_s=1.0)


def table_with(*inputs: Input) -> HostTable:
    """A table after these inputs."""
    table = HostTable()
    play(step, table, HERE, *inputs)
    return table


def job_runs(job_id: int, *, time_s: float = 100.0) -> tuple[Input, Input]:
    """A job asked for, and started."""
    return (
        received(StartJob(argv=("sleep", str(job_id))), f"start{job_id}", time_s=time_s),
        JobStarted(job_id=job_id, pid=1000 + job_id, ticks=50 + job_id, time_s=time_s + 0.5),
    )


def infos(table: HostTable) -> list[JobInfo]:
    return [job.info for job in table.jobs.values()]


def fail(effects: list[Effect], msg_id: str = "m1") -> tuple[str, str]:
    """Code and sentence of a failure."""
    reply = replies(effects)[msg_id]
    assert isinstance(reply, Fail)
    return reply.code, reply.message


# ---------------------------------------------------------------- programs somebody waits for


def test_a_program_is_run_and_answered() -> None:
    table = table_with()
    (run,) = step(table, received(RunProgram(argv=("echo", "x"), env={"A": "b"})))
    assert run == RunIt(msg_id="m1", argv=("echo", "x"), env={"A": "b"})
    result = ProgramResult(stdout="x\n")
    assert step(table, ProgramEnded(msg_id="m1", result=result)) == [Reply(msg_id="m1", body=result)]
    assert table.programs == {}


def test_a_program_that_does_not_start() -> None:
    table = table_with(received(RunProgram(argv=("nope",))))
    effects = step(table, ProgramEnded(msg_id="m1", code="not_found", message="no such program"))
    assert fail(effects) == ("not_found", "no such program")


@pytest.mark.parametrize("request_type", [RunProgram, StartJob])
@pytest.mark.parametrize(
    ("argv", "env", "reason"),
    [
        ((), {}, "which program?"),
        (("a", "b\0"), {}, "NUL byte"),
        (("a",), {"A": "\0"}, "NUL byte"),
        (("a",), {"A=": "x"}, "environment variable"),
        (("a",), {"": "x"}, "environment variable"),
        (("a", "x" * MAX_ARGUMENTS), {}, "longer than"),
        (("a",) * (MAX_ARGUMENTS // 9), {}, "longer than"),
        (("a",), {"A": "\xe4" * (MAX_ARGUMENTS // 2)}, "longer than"),
    ],
)
def test_what_no_program_can_be_given(
    request_type: type[Any], argv: tuple[str, ...], env: dict[str, str], reason: str
) -> None:
    table = table_with()
    effects = step(table, received(request_type(argv=argv, env=env)))
    code, sentence = fail(effects)
    assert (code, len(effects)) == ("invalid", 1)
    assert reason in sentence
    assert (table.programs, table.jobs) == ({}, {})


def test_how_many_programs_may_be_waited_for() -> None:
    table = table_with(*(received(RunProgram(argv=("x",)), f"p{number}") for number in range(MAX_PROGRAMS)))
    code, sentence = fail(step(table, received(RunProgram(argv=("x",)))))
    assert code == "unavailable"
    assert "`background`" in sentence
    step(table, ProgramEnded(msg_id="p0"))
    assert the(RunIt, step(table, received(RunProgram(argv=("x",)), "again")))


def test_a_restart_leaves_no_program_waited_for_and_runs_none_again() -> None:
    table = table_with(received(RunProgram(argv=("make",)), "p1"), received(RunProgram(argv=("true",)), "p2"))
    effects = step(table, Recovered())
    assert fail(effects, "p1") == ("deadline", "`make` ran when the host actor was restarted: outcome unknown")
    assert set(replies(effects)) == {"p1", "p2"}
    assert only(RunIt, effects) == []
    assert step(table, ProgramEnded(msg_id="p1")) == []


def test_only_the_beginning_of_a_long_answer_is_remembered() -> None:
    short = ProgramResult(stdout="a", stderr="b", exit_status=3)
    assert remembered(short) == short
    long = remembered(ProgramResult(stdout="a" * (REMEMBERED_OUTPUT + 1), exit_status=3))
    assert (len(long.stdout), long.truncated, long.exit_status) == (REMEMBERED_OUTPUT, True, 3)


# ---------------------------------------------------------------- a job's life


def test_a_job_from_start_to_end() -> None:
    table = table_with()
    asked, started = job_runs(1)
    (spawn,) = step(table, asked)
    assert spawn == SpawnJob(job_id=1, argv=("sleep", "1"), env={}, mark="ab2c-1-7")
    effects = step(table, started)
    info = JobInfo(job_id=1, argv=("sleep", "1"), pid=1001, running=True, started_s=100.5)
    assert effects == [
        Publish(topic="node/h1/job/1/", event=JobChanged(job=info)),
        Reply(msg_id="start1", body=Job(job=info)),
    ]
    (told,) = step(table, JobEnded(job_id=1, exit_status=0, time_s=200.0))
    assert isinstance(told, Publish)
    assert infos(table) == [
        JobInfo(job_id=1, argv=("sleep", "1"), pid=1001, running=False, started_s=100.5, ended_s=200.0)
    ]


@pytest.mark.parametrize(
    ("exit_status", "error"),
    [(0, ""), (3, "exit status 3"), (-9, "signal: killed"), (-15, "signal: terminated"), (None, UNSEEN)],
)
def test_how_a_job_ended(exit_status: int | None, error: str) -> None:
    table = table_with(*job_runs(1), JobEnded(job_id=1, exit_status=exit_status))
    assert infos(table)[0].error == error


def test_an_end_is_told_once() -> None:
    table = table_with(*job_runs(1), JobEnded(job_id=1, exit_status=1))
    assert step(table, JobEnded(job_id=1)) == []
    assert step(table, JobEnded(job_id=77)) == []
    assert infos(table)[0].error == "exit status 1"


def test_a_job_that_does_not_start_leaves_nothing() -> None:
    table = table_with(job_runs(1)[0])
    effects = step(table, JobRefused(job_id=1, code="not_found", message="no such program"))
    assert effects == [DropOutput(job_ids=(1,)), Fail(msg_id="start1", code="not_found", message="no such program")]
    assert table.jobs == {}
    (spawn,) = step(table, received(StartJob(argv=("x",))))
    assert isinstance(spawn, SpawnJob)
    assert spawn.job_id == 2  # a number is never used twice


def test_a_long_command_is_not_remembered_whole() -> None:
    table = table_with()
    (spawn,) = step(table, received(StartJob(argv=("echo", *["word"] * 5000))))
    assert isinstance(spawn, SpawnJob)
    assert len(spawn.argv) == 5001
    shown = infos(table)[0].argv
    assert len(" ".join(shown)) <= SHOWN_ARGUMENTS + 4
    assert shown[0] == "echo"
    assert shown[-1].endswith("...")


def test_how_many_jobs_may_run() -> None:
    table = table_with(*(received(StartJob(argv=("x",)), f"s{number}") for number in range(MAX_JOBS)))
    code, sentence = fail(step(table, received(StartJob(argv=("x",)))))
    assert (code, len(table.jobs)) == ("unavailable", MAX_JOBS)
    assert "`background-kill`" in sentence


def test_the_oldest_ended_jobs_are_forgotten() -> None:
    table = table_with(*(inp for number in range(1, KEEP_ENDED + 3) for inp in job_runs(number)))
    effects = []
    for number in reversed(range(1, KEEP_ENDED + 3)):  # the last one started ends first
        effects += step(table, JobEnded(job_id=number, exit_status=0, time_s=1000.0 - number))
    assert [drop.job_ids for drop in only(DropOutput, effects)] == [(KEEP_ENDED + 2,), (KEEP_ENDED + 1,)]
    assert len(table.jobs) == KEEP_ENDED


def test_clear_forgets_what_has_ended() -> None:
    table = table_with(*job_runs(1), *job_runs(2), JobEnded(job_id=1, exit_status=0))
    assert step(table, received(ClearJobs())) == [DropOutput(job_ids=(1,)), Reply(msg_id="m1", body=Ack())]
    assert list(table.jobs) == [2]
    assert step(table, received(ClearJobs())) == [Reply(msg_id="m1", body=Ack())]


# ---------------------------------------------------------------- ending jobs


def test_a_job_is_ended() -> None:
    table = table_with(*job_runs(1), *job_runs(2))
    assert step(table, received(KillJobs(job_id=2))) == [EndJobs(msg_id="m1", job_ids=(2,))]
    step(table, JobEnded(job_id=2, exit_status=-15, time_s=300.0))
    (reply,) = step(table, KillDone(msg_id="m1"))
    assert reply == Reply(msg_id="m1", body=JobList(jobs=(table.jobs[2].info,)))
    assert [info.running for info in infos(table)] == [True, False]


def test_all_running_jobs_are_ended() -> None:
    table = table_with(*job_runs(1), *job_runs(2), *job_runs(3), JobEnded(job_id=2, exit_status=0))
    assert step(table, received(KillJobs())) == [EndJobs(msg_id="m1", job_ids=(1, 2, 3))]
    for job_id in (1, 3):
        step(table, JobEnded(job_id=job_id, exit_status=-15))
    (reply,) = step(table, KillDone(msg_id="m1", found=3))
    assert reply == Reply(msg_id="m1", body=JobList(jobs=(table.jobs[1].info, table.jobs[3].info)))


def test_there_is_nothing_to_end() -> None:
    assert step(table_with(), received(KillJobs())) == [Reply(msg_id="m1", body=JobList(jobs=()))]


def test_all_may_be_none() -> None:
    table = table_with(*job_runs(1), JobEnded(job_id=1, exit_status=0), received(KillJobs(), "kill"))
    assert step(table, KillDone(msg_id="kill")) == [Reply(msg_id="kill", body=JobList(jobs=()))]


def test_what_is_not_there_cannot_be_ended() -> None:
    assert fail(step(table_with(), received(KillJobs(job_id=9))))[0] == "not_found"


@pytest.mark.parametrize(("found", "code"), [(0, "conflict"), (2, "")])
def test_children_that_outlived_their_program_are_ended(found: int, code: str) -> None:
    table = table_with(*job_runs(1), JobEnded(job_id=1, exit_status=0))
    assert step(table, received(KillJobs(job_id=1))) == [EndJobs(msg_id="m1", job_ids=(1,))]
    reply = replies(step(table, KillDone(msg_id="m1", found=found)))["m1"]
    assert (reply.code if isinstance(reply, Fail) else "") == code


def test_a_process_that_does_not_end_is_named() -> None:
    table = table_with(*job_runs(1), received(KillJobs(job_id=1), "kill"))
    assert fail(step(table, KillDone(msg_id="kill", left=(1001, 7))), "kill") == (
        "unavailable",
        "SIGKILL has not ended these processes yet: 1001, 7",
    )
    assert table.jobs[1].info.running
    assert table.kills == {}


def test_jobs_that_are_being_ended_are_not_forgotten_before_the_answer() -> None:
    numbers = range(1, KEEP_ENDED + 5)
    table = table_with(*(inp for number in numbers for inp in job_runs(number)), received(KillJobs(), "kill"))
    for number in numbers:
        assert only(DropOutput, step(table, JobEnded(job_id=number, exit_status=-15, time_s=300.0))) == []
    effects = step(table, KillDone(msg_id="kill"))
    reply = replies(effects)["kill"]
    assert isinstance(reply, JobList)
    assert len(reply.jobs) == len(numbers)
    assert the(DropOutput, effects).job_ids == (1, 2, 3, 4)


def test_a_job_cleared_while_it_is_being_ended() -> None:
    table = table_with(*job_runs(1), received(KillJobs(), "kill"), JobEnded(job_id=1, exit_status=-15))
    step(table, received(ClearJobs(), "clear"))
    assert step(table, KillDone(msg_id="kill")) == [Reply(msg_id="kill", body=JobList(jobs=()))]


# ---------------------------------------------------------------- restarts


def test_a_restart_looks_for_the_jobs_and_goes_on_ending_them() -> None:
    inputs = (*job_runs(1), *job_runs(2), JobEnded(job_id=1, exit_status=0), received(KillJobs(), "kill"))
    table = table_with(*inputs)
    assert step(table, Recovered()) == [
        KeepOutput(job_ids=(1, 2)),
        Adopt(job_id=1, mark="ab2c-1-7", pid=1001, ticks=51, ended=True),
        Adopt(job_id=2, mark="ab2c-2-7", pid=1002, ticks=52, ended=False),
        EndJobs(msg_id="kill", job_ids=(1, 2)),
    ]


def test_a_job_of_which_nobody_knows_whether_it_started() -> None:
    table = table_with(job_runs(1)[0])
    (adopt,) = only(Adopt, step(table, Recovered()))
    assert (adopt.pid, adopt.mark) == (0, "ab2c-1-7")
    effects = step(table, JobEnded(job_id=1))
    code, sentence = fail(effects, "start1")
    assert (code, sentence.startswith("`sleep` may or may not have run")) == ("deadline", True)
    assert table.jobs == {}


def test_a_job_found_by_its_mark_has_started() -> None:
    table = table_with(job_runs(1)[0])
    step(table, Recovered())
    effects = step(table, JobStarted(job_id=1, pid=5, ticks=6, time_s=101.0))
    assert the(Reply, effects).msg_id == "start1"
    assert (table.jobs[1].info.pid, table.jobs[1].ticks) == (5, 6)


def test_a_reboot_ends_all_jobs() -> None:
    table = table_with(*job_runs(1), job_runs(2)[0])
    effects = step(table, Located(host="h1", tag="ab2c", boot_id="boot-2", time_s=900.0))
    assert [info.error for info in infos(table)] == [UNSEEN]
    assert fail(effects, "start2")[0] == "deadline"
    assert [adopt.ended for adopt in only(Adopt, step(table, Recovered()))] == [True]


def test_every_input_and_the_state_survive_the_journal() -> None:
    inputs = [
        HERE,
        *job_runs(1),
        *job_runs(2),
        received(RunProgram(argv=("x",), env={"a": "b"}), "p1"),
        received(KillJobs(), "kill"),
        JobEnded(job_id=1, exit_status=-9, time_s=200.0),
        JobEnded(job_id=2, time_s=200.0),
        KillDone(msg_id="kill", left=(3,)),
        received(StartJob(argv=("y",)), "s3"),
        JobRefused(job_id=3, code="invalid", message="no"),
        ProgramEnded(msg_id="p1", result=ProgramResult(stdout="x", exit_status=2)),
        received(ClearJobs(), "clear"),
        received(StartJob(argv=("z",)), "s4"),
        Recovered(time_s=300.0),
    ]
    table, replayed = HostTable(), HostTable()
    for inp in inputs:
        effects = step(table, inp)
        assert step(replayed, through_journal(inp)) == effects
        replayed = through_snapshot(replayed)
        assert replayed == table


def test_a_request_of_another_actor() -> None:
    assert fail(step(table_with(), received(FlushVms())))[0] == "unknown_type"
