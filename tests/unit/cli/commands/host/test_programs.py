"""`shell`, background jobs and `check`, as clients see them."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import NotFoundError
from bus.messages.base import Ack, Message
from bus.messages.host import (
    CheckHost,
    ClearJobs,
    Finding,
    GetJobOutput,
    GetJobs,
    HostReport,
    Job,
    JobInfo,
    JobList,
    JobOutput,
    JobStream,
    KillJobs,
    ProgramResult,
    RunProgram,
    StartJob,
)
from tests.unit.cli.stand_ins import EngineBench

RUNNING = JobInfo(job_id=7, argv=("sh", "-c", "echo 'a'\n"), pid=321, running=True, started_s=1_700_000_000.0)
ENDED = JobInfo(
    job_id=2,
    argv=("make",),
    pid=9,
    running=False,
    started_s=1_700_000_000.0,
    ended_s=1_700_000_061.9,
    error="exit status 2",
)


def bench(**reactions: Any) -> EngineBench:
    """An engine before a host actor that answers so."""
    known: dict[type[Message], Any] = {
        RunProgram: ProgramResult(stdout="out\n"),
        StartJob: Job(job=RUNNING),
        GetJobs: JobList(jobs=(ENDED, RUNNING)),
        GetJobOutput: JobOutput(text="said\n"),
        KillJobs: JobList(jobs=(RUNNING,)),
        ClearJobs: Ack(),
    }
    return EngineBench({**known, **{kind: made for kind, made in ((type_of(k), v) for k, v in reactions.items())}})


def type_of(name: str) -> type[Message]:
    """A request class by its name."""
    return {klass.__name__: klass for klass in (RunProgram, GetJobs, GetJobOutput, CheckHost)}[name]


# ---------------------------------------------------------------- shell


async def test_words_and_the_client_s_variables_are_handed_on() -> None:
    cli = bench()
    cli.session.environment = {"A": "b", "GONE": ""}
    cli.session.namespace = "exp"
    assert await cli.text('shell echo "a b" c') == "out\n"
    (asked,) = cli.bus.asked
    assert (asked.to, asked.namespace) == ("host@n1", "exp")
    assert asked.request == RunProgram(argv=("echo", "a b", "c"), env={"A": "b", "GONE": ""})


@pytest.mark.parametrize(
    ("result", "text", "error"),
    [
        (ProgramResult(stdout=" out \n\n"), " out \n\n", ""),
        (ProgramResult(stdout="out\n", stderr="err\n"), "out\n", "err"),
        (ProgramResult(stdout="out\n", exit_status=3), "out\n", "exit status 3"),
        (ProgramResult(stderr="one\ntwo\n", exit_status=1), "", "one\ntwo\nexit status 1"),
        (ProgramResult(exit_status=-9), "", "signal: killed"),
        (ProgramResult(stdout="o", truncated=True), "o", "it said more than is kept: only the beginning is shown"),
    ],
)
async def test_what_a_program_said_is_answered(result: ProgramResult, text: str, error: str) -> None:
    response = await bench(RunProgram=result).one("shell x")
    assert (response.text, response.error) == (text, error)


async def test_a_program_that_is_not_there() -> None:
    missing = NotFoundError('exec: "x": executable file not found in $PATH')
    assert await bench(RunProgram=missing).error("shell x") == 'exec: "x": executable file not found in $PATH'


# ---------------------------------------------------------------- background


async def test_a_job_is_started() -> None:
    cli = bench()
    cli.session.environment = {"A": "b"}
    response = await cli.one("background sh -c x")
    assert (response.text, response.data["pid"]) == ("Started background process with id 7", 321)
    assert cli.bus.asked[0].request == StartJob(argv=("sh", "-c", "x"), env={"A": "b"})


async def test_the_table_of_jobs() -> None:
    response = await bench().one("background-status")
    assert response.header == ("id", "pid", "running", "error", "time_start", "time_end", "command")
    assert response.rows == [
        ("2", "9", "false", "exit status 2", "2023-11-14T22:13:20Z", "2023-11-14T22:14:21Z", "make"),
        ("7", "321", "true", "", "2023-11-14T22:13:20Z", "", "sh -c \"echo 'a'\\n\""),
    ]
    assert [job["job_id"] for job in response.data] == [2, 7]


async def test_one_job() -> None:
    response = await bench().one("background-status 7")
    assert [row[0] for row in response.rows or ()] == ["7"]


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("background-output 7", GetJobOutput(job_id=7, stream=JobStream.STDOUT)),
        ("background-error 7", GetJobOutput(job_id=7, stream=JobStream.STDERR)),
        ("background-kill 7", KillJobs(job_id=7)),
        ("background-kill all", KillJobs()),
        ("clear background-status", ClearJobs()),
    ],
)
async def test_what_is_asked_of_the_host(line: str, request_: Message) -> None:
    cli = bench()
    assert await cli.error(line) == ""
    assert [(asked.to, asked.request) for asked in cli.bus.asked] == [("host@n1", request_)]


async def test_output_is_shown_as_it_is() -> None:
    assert await bench().text("background-output 7") == "said\n"
    lost = await bench(GetJobOutput=JobOutput(text="end\n", truncated=True)).one("background-error 7")
    assert (lost.text, lost.error) == ("(what it wrote before this is not kept)\nend\n", "")
    assert lost.data == {"truncated": True}


@pytest.mark.parametrize("word", ["x", "-1", "1.5", "", "1e3", "\u0663", "9999999999", "0x1"])
@pytest.mark.parametrize("command", ["background-status", "background-output", "background-error", "background-kill"])
async def test_what_is_no_id(command: str, word: str) -> None:
    cli = bench()
    assert await cli.error(f'{command} "{word}"') == f"invalid id `{word}`: expected the number of a background process"
    assert cli.bus.asked == []


async def test_a_job_that_is_not_there() -> None:
    assert await bench().error("background-status 3") == "no background process 3: `background-status` lists them"


async def test_ids_complete() -> None:
    cli = bench()
    status = await cli.engine.suggest("background-status ", cli.session)
    kill = await cli.engine.suggest("background-kill ", cli.session)
    assert [line.split()[1:] for line in status] == [["2"], ["7"]]
    assert [line.split()[1:] for line in kill] == [["2"], ["7"], ["all"]]


# ---------------------------------------------------------------- check


PRESENT = Finding(name="root", present=True, required=True)
OPTIONAL = Finding(name="overlay", present=False, disables="sharing", remedy="get one")
REQUIRED = Finding(name="freezer", present=False, required=True, disables="containers", remedy="mount it")


@pytest.mark.parametrize(
    ("findings", "text", "error"),
    [
        ((PRESENT,), "", ""),
        ((OPTIONAL, PRESENT), "overlay (missing, optional): no sharing; get one", ""),
        ((REQUIRED, PRESENT), "", "freezer (missing): no containers; mount it"),
        (
            (REQUIRED, OPTIONAL),
            "",
            "freezer (missing): no containers; mount it\noverlay (missing, optional): no sharing; get one",
        ),
    ],
)
async def test_check(findings: tuple[Finding, ...], text: str, error: str) -> None:
    response = await bench(CheckHost=HostReport(findings=findings)).one("check")
    assert (response.text, response.error) == (text, error)
    assert len(response.data) == len(findings)
