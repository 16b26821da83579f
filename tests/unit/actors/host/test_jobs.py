"""Background jobs with real processes: begun, followed, found again by another process of the actor, ended."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from actors.host import jobs as jobs_module
from actors.host.jobs import Jobs
from bus.logs.logs import Log
from bus.node import control
from bus.node.control import ControlLane
from shims.linux.process import start_ticks
from shims.programs import job_output, process_tree
from shims.programs.job_output import JobOutput
from shims.programs.process import NotStartedError, Started
from shims.programs.process_tree import MARK, Tree


class Bench:
    """The jobs of one process of the actor; `restarted` gives those of the next."""

    def __init__(self, directory: Path, *, node: bool = False) -> None:
        self.directory = directory
        self.ends: dict[int, int | None] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.orphans: dict[int, Started] = {}
        self.node_end: socket.socket | None = None
        own: socket.socket | None = None
        if node:
            self.node_end, own = control.pair()
        self.lane = ControlLane(own, on_drain=lambda: None, on_stop=lambda: None, inbox=lambda: 0)
        self.jobs = Jobs(directory, self.lane, Log("host"), on_ended=self._ended, spawn=self._spawn)

    def _ended(self, job_id: int, status: int | None) -> None:
        assert job_id not in self.ends
        self.ends[job_id] = status

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def start(self, script: str, job_id: int = 1) -> Tree:
        """Start a job."""
        mark = f"bench-{os.getpid()}-{job_id}"
        return Tree(mark, *self.jobs.start(job_id, ("sh", "-c", script), {}, mark))

    async def over(self) -> None:
        """Wait for the end of all jobs."""
        await asyncio.wait_for(asyncio.gather(*self.tasks), 10.0)

    async def crash(self) -> None:
        """Nothing of this process follows the jobs any more; those that run are for `reap`."""
        self.orphans |= {job.program.pid: job.program for job in self.jobs._jobs.values() if job.program is not None}
        await asyncio.sleep(0)  # a task that has not begun could not clean up
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.jobs.close()
        self.lane.close()
        if self.node_end is not None:
            self.node_end.close()

    def reap(self, pid: int) -> None:
        """What the node does with orphans."""
        self.orphans.pop(pid).wait()

    def text(self, job_id: int = 1) -> str:
        """What a job has written."""
        return job_output.read(self.jobs.directory(job_id), "stdout")[0].decode()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The first process; whatever it has started is ended."""
    bench = Bench(tmp_path / "jobs")
    yield bench
    await bench.crash()
    process_tree.end([job.tree for job in bench.jobs._jobs.values()], 0.0)
    for pid in list(bench.orphans):
        bench.reap(pid)


@pytest.fixture
async def next_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """The process after a crash, with a lane to a node that says what the test says."""
    monkeypatch.setattr(jobs_module, "REAPED_S", 0.2)
    bench = Bench(tmp_path / "jobs", node=True)
    yield bench
    await bench.crash()
    process_tree.end([job.tree for job in bench.jobs._jobs.values()], 0.0)


async def test_a_job_is_followed_to_its_end(bench: Bench) -> None:
    tree = bench.start("echo said; exit 3")
    assert (bench.jobs.running, bench.jobs.known) == (1, (1,))
    await bench.over()
    assert bench.ends == {1: 3}
    assert (bench.jobs.running, bench.jobs.known) == (0, (1,))
    assert bench.text() == "said\n"  # all of it is there as soon as the end is told
    assert tree.ticks > 0


async def test_its_mark_cannot_be_overlaid(bench: Bench) -> None:
    bench.jobs.start(1, ("sh", "-c", f"echo ${MARK} $A"), {MARK: "mine", "A": "b"}, "the-mark")
    await bench.over()
    assert bench.text() == "the-mark b\n"


async def test_what_does_not_start_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(NotStartedError, match="executable file not found"):
        bench.jobs.start(1, ("no-such-program",), {}, "mark")
    assert (bench.jobs.known, list(bench.directory.iterdir())) == ((), [])


async def test_output_that_cannot_be_kept_is_said_before_anything_runs(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    with pytest.raises(NotStartedError, match=f"cannot keep the output of a job: Not a directory: {tmp_path}/jobs/1"):
        bench.start("exit 0")
    (tmp_path / "jobs").unlink()


async def test_a_job_is_ended_and_its_end_told_before_the_answer(bench: Bench) -> None:
    bench.start("sleep 1000 & setsid sleep 1000 & wait")
    bench.start("sleep 1000", job_id=2)
    ending = await bench.jobs.end((1,), 5.0)
    assert ending.left == ()
    assert bench.ends == {1: -15}
    assert bench.jobs.running == 1


async def test_a_job_is_found_again_and_the_node_tells_how_it_ended(bench: Bench, next_bench: Bench) -> None:
    tree = bench.start("echo before; sleep 1000")
    async with asyncio.timeout(10.0):
        while not bench.text():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.005)
    await bench.crash()
    assert next_bench.jobs.adopt(1, tree) == tree
    os.kill(tree.pid, 9)
    bench.reap(tree.pid)
    next_bench.jobs.reaped(tree.pid, 7 << 8)
    await next_bench.over()
    assert (next_bench.ends, next_bench.text()) == ({1: 7}, "before\n")


async def test_the_node_may_tell_before_it_is_asked(bench: Bench, next_bench: Bench) -> None:
    tree = bench.start("sleep 1000")
    await bench.crash()
    os.kill(tree.pid, 9)
    bench.reap(tree.pid)
    next_bench.jobs.reaped(4_000_000, 0)
    next_bench.jobs.reaped(tree.pid, 9)
    next_bench.jobs.adopt(1, tree)
    await next_bench.over()
    assert next_bench.ends == {1: -9}


async def test_what_nobody_saw_is_unknown(bench: Bench, next_bench: Bench) -> None:
    tree = bench.start("exit 0")
    await bench.over()
    assert next_bench.jobs.adopt(1, tree) == tree
    await next_bench.over()
    assert next_bench.ends == {1: None}


async def test_a_job_that_was_being_started_is_found_by_its_mark(bench: Bench, next_bench: Bench) -> None:
    tree = bench.start("sleep 1000")
    await bench.crash()
    assert next_bench.jobs.adopt(1, Tree(tree.mark)) == tree
    ending = next_bench.jobs.end((1,), 5.0)
    asyncio.get_running_loop().call_later(0.05, bench.reap, tree.pid)
    assert (await ending).left == ()
    assert next_bench.ends == {1: None}


async def test_a_job_that_never_started_is_not_found(next_bench: Bench) -> None:
    assert next_bench.jobs.adopt(1, Tree("no-such-mark")) is None
    assert (next_bench.ends, next_bench.jobs.known) == ({}, ())


async def test_a_pid_that_is_somebody_else_s_by_now_is_left_alone(next_bench: Bench, bench: Bench) -> None:
    tree = bench.start("sleep 1000", job_id=5)
    next_bench.jobs.adopt(1, Tree("gone", tree.pid, tree.ticks - 1))
    await next_bench.over()
    assert next_bench.ends == {1: None}
    assert (await next_bench.jobs.end((1,), 5.0)).found == 0
    assert start_ticks(tree.pid) == tree.ticks
    assert bench.ends == {}


async def test_what_the_node_kept_is_taken_back(bench: Bench, next_bench: Bench) -> None:
    """What the job wrote while nobody looked, and what the node keeps of jobs that are forgotten."""
    output = JobOutput(bench.jobs.directory(1), on_lost=print, on_end=print)
    stdout, stderr = output.create()
    kept = {name: os.dup(fd) for name, fd in output.descriptors().items()}
    output.close()
    os.write(stdout, b"last words\n")
    os.close(stdout)
    os.close(stderr)
    assert next_bench.node_end is not None
    forgotten = os.open("/dev/null", os.O_RDONLY)
    for name, fd in (("job-1-stdout", kept["stdout"]), ("job-1-stderr", kept["stderr"]), ("job-9-stdout", forgotten)):
        control.send(next_bench.node_end, {"type": "fd", "name": name}, fd)
        os.close(fd)
    control.send(next_bench.node_end, {"type": "fds_end"})
    (bench.directory / "9").mkdir()
    await next_bench.jobs.restore()
    next_bench.jobs.keep_only([1])
    assert [path.name for path in bench.directory.iterdir()] == ["1"]
    next_bench.jobs.adopt_ended(1, "mark")
    assert next_bench.text() == "last words\n"
    dropped: list[str] = []
    next_bench.node_end.setblocking(True)
    while len(dropped) < 3:
        received = control.receive(next_bench.node_end)
        assert received is not None
        if received[0]["type"] == "drop_fd":
            dropped.append(received[0]["name"])
    assert sorted(dropped) == ["job-1-stderr", "job-1-stdout", "job-9-stdout"]


async def test_forgetting_removes_the_output(bench: Bench) -> None:
    bench.start("echo x")
    await bench.over()
    bench.jobs.drop((1, 77))
    assert (bench.jobs.known, list(bench.directory.iterdir())) == ((), [])


async def test_no_more_statuses_are_kept_than_needed(next_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "KEEP_REAPED", 10)
    for pid in range(1, 100):
        next_bench.jobs.reaped(pid, 0)
    assert list(next_bench.jobs._reaped) == list(range(90, 100))
