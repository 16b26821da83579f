"""Programs that users run on the host, in the foreground and the background, and what the host lacks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bus.exit_status import describe_exit
from bus.messages.base import WILDCARD
from bus.messages.host import (
    CheckHost,
    ClearJobs,
    Finding,
    GetJobOutput,
    GetJobs,
    HostReport,
    JobInfo,
    JobList,
    JobOutput,
    JobStream,
    KillJobs,
    ProgramResult,
    RunProgram,
    StartJob,
)
from cli.answers.response import Group, Response
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, CommandError
from cli.grammar.quoting import quote

PROGRAM_S = 86_400.0
"""How long `shell` waits for its program."""
ENDING_S = 60.0
"""Timeout of ending jobs, which are given some seconds to end by themselves."""
MAX_ID_DIGITS = 9

COLUMNS = ("id", "pid", "running", "error", "time_start", "time_end", "command")


# ---------------------------------------------------------------- shell, background


def result_response(host: str, result: ProgramResult) -> Response:
    """What a program said: its output unchanged, and as error what it complained of and how it failed."""
    errors = [result.stderr.rstrip("\n")]
    if result.exit_status:
        errors.append(describe_exit(result.exit_status))
    if result.truncated:
        errors.append("it said more than is kept: only the beginning is shown")
    return Response(host, result.stdout, error="\n".join(filter(None, errors)))


async def _shell(call: Call) -> AsyncIterator[Group]:
    request = RunProgram(argv=call.args.words("command"), env=call.session.environment)
    host = call.engine.host
    result = await call.engine.ask(f"host@{host}", request, timeout_s=PROGRAM_S, namespace=call.session.namespace)
    yield Group([result_response(host, result)])


async def _background(call: Call) -> AsyncIterator[Group]:
    request = StartJob(argv=call.args.words("command"), env=call.session.environment)
    host = call.engine.host
    started = await call.engine.ask(f"host@{host}", request, timeout_s=QUICK_S, namespace=call.session.namespace)
    text = f"Started background process with id {started.job.job_id}"
    yield Group([Response(host, text, data=msgspec.to_builtins(started.job))])


# ---------------------------------------------------------------- jobs


def _job_id(text: str) -> int:
    """Read the number of a job; raises CommandError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS):
        raise CommandError(f"invalid id `{text[:80]}`: expected the number of a background process")
    return int(text)


def _stamp(time_s: float) -> str:
    """UTC, to the second; empty for never."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s)) if time_s else ""


def _row(job: JobInfo) -> tuple[str, ...]:
    return (
        str(job.job_id),
        str(job.pid),
        "true" if job.running else "false",
        job.error,
        _stamp(job.started_s),
        _stamp(job.ended_s),
        " ".join(map(quote, job.argv)),
    )


def _get_jobs(args: Args) -> GetJobs:
    if args.has("id"):
        _job_id(args.text("id"))
    return GetJobs()


def job_table(jobs: JobList, args: Args) -> Answer:
    """One row a job, or the row of one."""
    shown = jobs.jobs
    if args.has("id"):
        wanted = _job_id(args.text("id"))
        shown = tuple(job for job in shown if job.job_id == wanted)
        if not shown:
            return Answer(error=f"no background process {wanted}: `background-status` lists them")
    return Answer(header=COLUMNS, rows=[_row(job) for job in shown], data=msgspec.to_builtins(shown))


def _output_of(stream: JobStream) -> Any:
    return lambda args: GetJobOutput(job_id=_job_id(args.text("id")), stream=stream)


def _output(output: JobOutput, args: Args) -> Answer:
    lost = "(what it wrote before this is not kept)\n" if output.truncated else ""
    return Answer(lost + output.text, data={"truncated": output.truncated})


def _kill(args: Args) -> KillJobs:
    text = args.text("id")
    return KillJobs() if text == WILDCARD else KillJobs(job_id=_job_id(text))


# ---------------------------------------------------------------- check


def _line(finding: Finding) -> str:
    kind = "missing" if finding.required else "missing, optional"
    return f"{finding.name} ({kind}): no {finding.disables}; {finding.remedy}"


def check_answer(report: HostReport, args: Args) -> Answer:
    """Nothing if all is well; what is only optional is no error."""
    missing = [finding for finding in report.findings if not finding.present]
    text = "\n".join(map(_line, missing))
    data = msgspec.to_builtins(report.findings)
    if any(finding.required for finding in missing):
        return Answer(error=text, data=data)
    return Answer(text, data=data)


COMMANDS: tuple[Command, ...] = (
    Command(
        patterns=("shell <command>...",),
        help_short="run a program on this host and show what it says",
        help_long="""\
Runs the program with these arguments and waits for its end. There is no shell
in between: no wildcards, pipes or redirections; for those write
`shell sh -c "..."`. The program has nothing to read, and the environment of
minibus with this client's variables (`.env`) laid over it.

What it writes on standard output is the answer; what it writes on standard
error is the error, and so is an exit status other than 0. The first 8 MiB are
kept. Children that live on are not waited for. `minibus down` ends it.""",
        run=_shell,
    ),
    Command(
        patterns=("background <command>...",),
        help_short="start a program on this host and do not wait for it",
        help_long="""\
As `shell`, but answers at once with the number of the background process. See
`background-status` for what became of it, `background-output` and
`background-error` for what it writes, `background-kill` to end it. It goes on
if minibus crashes; `minibus down` and `quit` end it. All its children carry the
variable MINIBUS_JOB in their environment.""",
        run=_background,
    ),
    Command(
        patterns=("background-status [id]",),
        help_short="list background processes",
        help_long="""\
One row for each background process that runs, and for the last 50 that have
ended. Times are UTC. `error` tells how it failed; it is `exit status unknown`
if it ended while nobody could see it.""",
        to="host",
        request=_get_jobs,
        answer=job_table,
        completers={"id": "job"},
    ),
    Command(
        patterns=("background-output <id>",),
        help_short="show what a background process has written to standard output",
        help_long="The last 4 to 8 MiB are kept.",
        to="host",
        request=_output_of(JobStream.STDOUT),
        answer=_output,
        completers={"id": "job"},
    ),
    Command(
        patterns=("background-error <id>",),
        help_short="show what a background process has written to standard error",
        help_long="The last 4 to 8 MiB are kept.",
        to="host",
        request=_output_of(JobStream.STDERR),
        answer=_output,
        completers={"id": "job"},
    ),
    Command(
        patterns=("background-kill <id or all>",),
        help_short="end background processes with all their children",
        help_long="""\
They get SIGTERM, and SIGKILL if they have not ended 5 seconds later. Returns
when they have ended. Children that have outlived their process count too.""",
        to="host",
        request=_kill,
        timeout_s=ENDING_S,
        completers={"id": "job_target"},
    ),
    Command(
        patterns=("clear background-status",),
        help_short="forget the background processes that have ended",
        help_long="What they have written is removed as well.",
        to="host",
        request=lambda args: ClearJobs(),
    ),
    Command(
        patterns=("check",),
        help_short="look whether this host has what minibus needs",
        help_long="""\
Says nothing if all is well. Otherwise one line for each thing that is missing:
what cannot be done without it, and how to get it. It is an error only if
containers cannot be run at all.""",
        to="host",
        request=lambda args: CheckHost(),
        answer=check_answer,
    ),
)
