"""What becomes of users' programs when processes of minibus are killed, and when minibus ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bus.client import connect
from bus.errors import OutcomeUnknownError
from bus.messages.host import RunProgram
from shims.programs import process_tree
from tests.system.product import Console, Product, product_on, until
from tests.system.programs import begin, ended, job, one, processes_with


@pytest.fixture
def own(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """A minibus for one test."""
    with product_on(base_dir, rootfs) as product:
        yield product
        assert product.pid("node"), "the test ended it and has to look itself"
    assert process_tree.marked(f"{product.tag}-") == []


COUNT = "i=0; while :; do i=\\$((i+1)); echo \\$i; sleep 0.05; done"


def last_count(console: Console, number: int) -> int:
    """How far a counting job has come."""
    return int((one(console, f"background-output {number}")["Response"].split() or ["0"])[-1])


def counts_on(console: Console, number: int) -> None:
    """It goes on, and no line of it is lost."""
    before = last_count(console, number)
    until(lambda: last_count(console, number) > before + 2, "the job to go on")
    lines = one(console, f"background-output {number}")["Response"].split()
    assert lines == [str(line) for line in range(1, len(lines) + 1)]


def test_a_job_outlives_the_host_actor(own: Product) -> None:
    with own.console() as console:
        counting = begin(console, f'sh -c "{COUNT}"')
        failing = begin(console, f'sh -c "read x <{_fifo(own)}; exit 9"')
        before = job(console, counting)
        old = own.kill("host")
        own.replaced("host", old)
        assert job(console, counting) == before
        counts_on(console, counting)
        (own.base / "gate").write_text("go\n")
        assert ended(console, failing)["error"] == "exit status 9"  # the node has told
        console.ok("background-kill all")
        assert job(console, counting)["error"] == "signal: terminated"


def test_a_job_that_ends_unseen(own: Product) -> None:
    with own.console() as console:
        number = begin(console, "sleep 1000")
        pid = int(job(console, number)["pid"])
        own.kill("host", signal.SIGSTOP)
        own.kill("node", signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        actors = [own.pid(name) for name in ("host", "node")]
        for victim in actors:
            os.kill(victim, signal.SIGKILL)
    own.up()
    with own.console() as console:
        assert ended(console, number)["error"] == "exit status unknown"


def test_a_job_outlives_the_node(own: Product) -> None:
    with own.console() as console:
        number = begin(console, f'sh -c "{COUNT}"')
        until(lambda: last_count(console, number) > 0, "it to begin")
        before = job(console, number)
    own.kill("node")
    until(lambda: not own.pid("host"), "the actors to end")
    assert psutil.pid_exists(int(before["pid"]))
    own.up()
    with own.console() as console:
        assert job(console, number) == before
        counts_on(console, number)
        console.ok("background-kill all")


def test_a_program_in_the_foreground_at_a_crash_is_not_run_twice(own: Product) -> None:
    marks = own.base / "marks"
    with own.console() as console:
        console.send(f'shell sh -c "echo run >>{marks}; sleep 1005"')
        until(marks.exists, "it to run")
        old = own.kill("host")
        (response,) = console.receive()
        own.replaced("host", old)
        assert "outcome unknown" in response["Error"]
        assert response["Error"].startswith("`sh`")
    assert marks.read_text() == "run\n"
    (left,) = processes_with("1005")
    left.kill()


def test_a_repeat_by_id_is_not_run_again(own: Product) -> None:
    marks = own.base / "marks"
    request = RunProgram(argv=("sh", "-c", f"echo run >>{marks}; echo said"))

    async def twice() -> tuple[str, str]:
        async with connect(own.base) as port:
            first = await port.ask("host", request, timeout_s=10.0, msg_id="twice")
            second = await port.ask("host", request, timeout_s=10.0, msg_id="twice")
            return first.stdout, second.stdout

    assert asyncio.run(twice()) == ("said\n", "said\n")
    assert marks.read_text() == "run\n"


def test_of_a_long_answer_only_the_beginning_is_repeated(own: Product) -> None:
    request = RunProgram(argv=("head", "-c", "100000", "/dev/zero"))

    async def twice() -> list[tuple[int, bool]]:
        async with connect(own.base) as port:
            asks = [await port.ask("host", request, timeout_s=10.0, msg_id="long") for _ in range(2)]
            return [(len(said.stdout), said.truncated) for said in asks]

    assert asyncio.run(twice()) == [(100_000, False), (4096, True)]


def test_children_that_outlive_their_program_are_read_on_after_a_crash(own: Product) -> None:
    with own.console() as console:
        number = begin(console, f'sh -c "({COUNT}) & exit 3"')
        assert ended(console, number)["error"] == "exit status 3"
        old = own.kill("host")
        own.replaced("host", old)
        counts_on(console, number)
        console.ok("background-kill all")


def test_a_program_asked_for_by_id_before_a_crash_is_outcome_unknown(own: Product) -> None:
    async def across_the_crash() -> None:
        async with connect(own.base) as port:
            asked = asyncio.ensure_future(
                port.ask("host", RunProgram(argv=("sleep", "1002")), timeout_s=30.0, msg_id="once")
            )
            await asyncio.to_thread(until, lambda: bool(processes_with("1002")), "it to run")
            old = own.kill("host")
            with pytest.raises(OutcomeUnknownError):
                await asked
            own.replaced("host", old)
            await asyncio.to_thread(own.everything_answers)
            with pytest.raises(OutcomeUnknownError):
                await port.ask("host", RunProgram(argv=("sleep", "1002")), timeout_s=30.0, msg_id="once")

    asyncio.run(across_the_crash())
    (left,) = processes_with("1002")
    left.kill()


def test_down_ends_jobs_and_says_so(base_dir: Path, rootfs: Path) -> None:
    with product_on(base_dir, rootfs) as product:
        with product.console() as console:
            first = begin(console, 'sh -c "setsid sleep 1003 & sleep 1003"')
            third = begin(console, 'sh -c "sleep 1003 & exit 0"')
            ended(console, third)
            second = begin(console, 'sh -c "trap : TERM; while :; do sleep 1003; done"')
        until(lambda: len(process_tree.marked(f"{product.tag}-")) >= 5, "them to run")
        product.down()
        assert process_tree.marked(f"{product.tag}-") == []
        assert '"event": "programs_ended_by_stop", "jobs": 2, "programs": 0' in product.log_end()
        product.up()
        with product.console() as console:
            assert job(console, first)["error"] == "signal: terminated"
            assert job(console, second)["error"] in ("signal: killed", "signal: terminated")


def test_quit_ends_jobs(base_dir: Path, rootfs: Path) -> None:
    with product_on(base_dir, rootfs) as product:
        with product.console() as console:
            begin(console, "sleep 1004")
            console.send("quit")
            with pytest.raises(ConnectionError):
                console.receive()
        until(lambda: not product.pid("node"), "the node to end")
        assert process_tree.marked(f"{product.tag}-") == []


def _fifo(product: Product) -> Path:
    path = product.base / "gate"
    os.mkfifo(path)
    return path
