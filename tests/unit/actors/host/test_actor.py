"""The shell of the host actor on the loop of the test: what it says at its start, and whom it ends at its own end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.host.actor import HostActor
from bus import codec
from bus.messages.base import Failure, Message
from bus.messages.envelope import Envelope
from bus.messages.host import (
    CheckHost,
    Finding,
    GetJobOutput,
    GetJobs,
    HostReport,
    Job,
    JobList,
    JobOutput,
    JobStream,
    ProgramResult,
    RunProgram,
    StartJob,
)
from bus.node.lifecycle import EXIT_BUG
from bus.paths import context
from shims.doctor import host_check
from shims.programs import process_tree
from tests.unit.bus.toy import LoopbackPort

LACKS = (
    Finding(name="freezer", present=False, required=True, disables="containers", remedy="mount it"),
    Finding(name="overlay", present=False, disables="sharing", remedy="get one"),
    Finding(name="root", present=True, required=True),
)


class Bench:
    """An actor without a bus."""

    def __init__(self, base: Path) -> None:
        self.actor = HostActor(context(base), None)
        self.port = LoopbackPort()
        self.actor.port._zmq.term()
        self.actor.port = self.port  # type: ignore[assignment]
        self.logged: list[tuple[str, str, dict[str, Any]]] = []
        self.actor.log.record = lambda level, event, fields: self.logged.append(  # type: ignore[method-assign]
            (level, event, dict(fields))
        )

    async def ask(self, body: Message, msg_id: str) -> Message:
        """A request arrives; its answer."""
        envelope = Envelope(kind="request", id=msg_id, type=codec.tag_of(body), namespace="n", ttl_ms=10_000)
        self.actor._on_request(envelope, codec.encode(body))
        async with asyncio.timeout(10.0):
            while msg_id not in dict(self.port.replies):  # noqa: ASYNC110 - nobody who could tell of it
                await asyncio.sleep(0.001)
        return dict(self.port.replies)[msg_id]

    def events(self) -> list[str]:
        """What was logged as a warning or worse."""
        return [event for level, event, _ in self.logged if level in ("warn", "error")]


@asynccontextmanager
async def running(base: Path) -> AsyncIterator[Bench]:
    """An actor that has started; afterwards nothing of it or of its jobs is left."""
    bench = Bench(base)
    await bench.actor.start()
    try:
        yield bench
    finally:
        jobs = bench.actor._jobs._jobs.values()
        await asyncio.sleep(0)
        for task in tuple(bench.actor._tasks):
            task.cancel()
        await asyncio.gather(*bench.actor._tasks, return_exceptions=True)
        bench.actor._jobs.close()
        process_tree.end([job.tree for job in jobs], 0.0)
        for job in jobs:
            if job.program is not None:
                job.program.wait()
        if bench.actor._store is not None:
            bench.actor._store.close()


async def test_what_the_host_lacks_is_logged_at_the_start(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_check, "check", lambda: LACKS)
    async with running(base_dir) as bench:
        lacks = [(level, fields) for level, event, fields in bench.logged if event == "host_lacks"]
        assert lacks == [
            ("error", {"what": "freezer", "disables": "containers", "remedy": "mount it"}),
            ("warn", {"what": "overlay", "disables": "sharing", "remedy": "get one"}),
        ]
        assert await bench.ask(CheckHost(), "check") == HostReport(findings=LACKS)


async def test_a_program_is_answered_whole_and_remembered_in_part(base_dir: Path) -> None:
    async with running(base_dir) as bench:
        request = RunProgram(argv=("sh", "-c", "seq 10000; exit 2"))
        whole = await bench.ask(request, "m1")
        assert isinstance(whole, ProgramResult)
        assert (whole.stdout.splitlines()[-1], whole.exit_status, whole.truncated) == ("10000", 2, False)
        bench.port.replies.clear()
        part = await bench.ask(request, "m1")
        assert isinstance(part, ProgramResult)
        assert (whole.stdout.startswith(part.stdout), part.exit_status, part.truncated) == (True, 2, True)
        assert (bench.actor._results, bench.actor._programs) == ({}, {})


async def test_what_does_not_start(base_dir: Path) -> None:
    async with running(base_dir) as bench:
        for number, request in enumerate((RunProgram(argv=("no-such",)), StartJob(argv=("no-such",)))):
            reply = await bench.ask(request, f"a{number}")
            assert isinstance(reply, Failure)
            assert (reply.code, "not found in $PATH" in reply.message) == ("not_found", True)
            reply = await bench.ask(type(request)(argv=("/tmp",)), f"b{number}")
            assert isinstance(reply, Failure)
            assert (reply.code, reply.message) == ("unavailable", "fork/exec /tmp: is a directory")
        assert list((base_dir / "run" / "jobs").iterdir()) == []


async def test_the_output_of_a_job(base_dir: Path) -> None:
    async with running(base_dir) as bench:
        started = await bench.ask(StartJob(argv=("echo", "said")), "start")
        assert isinstance(started, Job)
        while bench.port.published != [f"node/{bench.actor.context.host}/job/1/"] * 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        said = await bench.ask(GetJobOutput(job_id=1, stream=JobStream.STDOUT), "out")
        assert said == JobOutput(text="said\n")
        missing = await bench.ask(GetJobOutput(job_id=2, stream=JobStream.STDOUT), "none")
        assert isinstance(missing, Failure)
        assert missing.code == "not_found"


@pytest.mark.parametrize("ending", ["stop", "the node is lost", "a bug"])
async def test_only_an_orderly_stop_ends_what_runs(base_dir: Path, ending: str) -> None:
    async with running(base_dir) as bench:
        started = await bench.ask(StartJob(argv=("sleep", "1000")), "start")
        assert isinstance(started, Job)
        bench.actor.lane.lost = ending == "the node is lost"
        bench.actor.exit_status = EXIT_BUG if ending == "a bug" else 0
        await bench.actor.stop()
        mark = bench.actor.state.jobs[1].mark
        assert bool(process_tree.marked(mark)) == (ending != "stop")
        assert ("programs_ended_by_stop" in bench.events()) == (ending == "stop")
        assert bench.actor.state.jobs[1].info.error == ("signal: terminated" if ending == "stop" else "")


async def test_a_program_in_the_foreground_is_ended_by_an_orderly_stop(base_dir: Path) -> None:
    async with running(base_dir) as bench:
        asked = asyncio.ensure_future(bench.ask(RunProgram(argv=("sleep", "1000")), "m1"))
        while not bench.actor._programs:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await bench.actor.stop()
        assert ("warn", "programs_ended_by_stop", {"jobs": 0, "programs": 1}) in bench.logged
        asked.cancel()


async def test_a_job_that_is_starting_is_not_shown(base_dir: Path) -> None:
    async with running(base_dir) as bench:
        assert await bench.ask(GetJobs(), "q1") == JobList(jobs=())
        await bench.ask(StartJob(argv=("sleep", "1000")), "start")
        listed = await bench.ask(GetJobs(), "q2")
        assert isinstance(listed, JobList)
        assert [(job.job_id, job.running, job.pid > 0) for job in listed.jobs] == [(1, True, True)]
        bench.actor.state.jobs[1].request = "again"
        assert await bench.ask(GetJobs(), "q3") == JobList(jobs=())
