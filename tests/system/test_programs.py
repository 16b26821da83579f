"""Programs run through the product: `shell`, background jobs, their end, and what outlives which crash."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bus import codec
from bus.client import connect
from bus.errors import BusError, OutcomeUnknownError
from bus.messages.host import JobChanged, RunProgram, StartJob
from bus.paths import host_name
from bus.topics import job_topic, topic
from shims import process_tree
from tests.system.product import Console, Product, product_on, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, rootfs: Path) -> Iterator[Product]:
    """One minibus for the tests that break nothing."""
    base = Path("/tmp") / f"mb-programs-{os.getpid()}"
    base.mkdir(mode=0o700)
    try:
        with product_on(base, rootfs) as product:
            yield product
    finally:
        shutil.rmtree(base)


@pytest.fixture
def console(running: Product) -> Iterator[Console]:
    """A connection; afterwards no job is left."""
    with running.console() as console:
        yield console
        console.ok("background-kill all", "clear background-status")
        assert console.rows("background-status") == []
    assert process_tree.marked(f"{running.tag}-") == []
    assert not list((running.base / "run").glob("jobs/*"))


@pytest.fixture
def own(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """A minibus for one test."""
    with product_on(base_dir, rootfs) as product:
        yield product
        assert product.pid("node"), "the test ended it and has to look itself"
    assert process_tree.marked(f"{product.tag}-") == []


def one(console: Console, line: str) -> dict[str, Any]:
    """The only response to a command."""
    (response,) = console.command(line)
    return response


def job(console: Console, number: int) -> dict[str, str]:
    """The row of a job."""
    (row,) = console.rows(f"background-status {number}")
    return row


def begin(console: Console, command: str) -> int:
    """Start a job; its number."""
    text = console.ok(f"background {command}")
    assert text.startswith("Started background process with id "), text
    return int(text.rpartition(" ")[2])


def ended(console: Console, number: int) -> dict[str, str]:
    """Wait for a job's end; its row."""
    until(lambda: job(console, number)["running"] == "false", f"the end of job {number}")
    return job(console, number)


def processes_with(argument: str) -> list[psutil.Process]:
    """Processes that have exactly this among their arguments."""
    return [process for process in psutil.process_iter(["cmdline"]) if argument in (process.info["cmdline"] or ())]


# ---------------------------------------------------------------- shell


@pytest.mark.parametrize(
    ("line", "text", "error"),
    [
        ("shell echo hello", "hello\n", ""),
        ("shell echo 'a  b' #x", "a  b\n", ""),
        ("shell printf %s no-newline", "no-newline", ""),
        ("shell echo * | cat", "* | cat\n", ""),
        ('shell sh -c "echo out; echo err >&2"', "out\n", "err"),
        ('shell sh -c "echo out; echo err >&2; exit 3"', "out\n", "err\nexit status 3"),
        ("shell false", "", "exit status 1"),
        ('shell sh -c "kill -9 0"', "", "signal: killed"),
        ("shell no-such-program x", "", 'exec: "no-such-program": executable file not found in $PATH'),
        ('shell ""', "", 'exec: "": executable file not found in $PATH'),
        ("shell /no/such", "", "fork/exec /no/such: no such file or directory"),
        ("shell /tmp", "", "fork/exec /tmp: is a directory"),
        ("shell /etc/passwd", "", "fork/exec /etc/passwd: permission denied"),
        ("shell cat", "", ""),
        ("shell printf \\\\377x", "\ufffdx", ""),
    ],
)
def test_what_a_program_says(console: Console, line: str, text: str, error: str) -> None:
    response = one(console, line)
    assert (response["Response"], response["Error"]) == (text, error)


def test_a_program_that_waits_keeps_nobody_waiting(running: Product, console: Console) -> None:
    with running.console() as waiting:
        waiting.send("shell sleep 5")
        begun_s = time.monotonic()
        console.ok("vm info", "shell true", "background-status")
        assert time.monotonic() - begun_s < 3.0
        waiting.close()


def test_a_program_completes_without_its_client(running: Product, console: Console) -> None:
    done, gate = running.base / "done", running.base / "gate"
    os.mkfifo(gate)
    with running.console() as leaving:
        leaving.send(f'shell sh -c "echo >{gate}; echo >{done}"')
        until(lambda: bool(processes_with(f"echo >{gate}; echo >{done}")), "it to run")
    gate.read_text()
    until(done.exists, "the program to end")
    done.unlink()
    gate.unlink()


def test_the_output_that_is_kept_is_bounded(console: Console) -> None:
    response = one(console, "shell head -c 9000000 /dev/zero")
    assert len(response["Response"]) == 8 * 1024 * 1024
    assert "only the beginning is shown" in response["Error"]


def test_arguments_that_are_too_long(console: Console) -> None:
    assert "argument list too long" in console.error(f"shell true {'x' * 200_000}")


def test_the_client_s_variables(running: Product, console: Console) -> None:
    async def run() -> str:
        async with connect(running.base) as port:
            request = RunProgram(argv=("sh", "-c", "echo $GREETING-${LANG-gone}"), env={"GREETING": "hi", "LANG": ""})
            return (await port.ask("host", request, timeout_s=10.0)).stdout

    assert asyncio.run(run()) == "hi-gone\n"


def test_what_is_no_program_at_all(running: Product) -> None:
    async def refusal(request: RunProgram) -> str:
        async with connect(running.base) as port:
            with pytest.raises(BusError) as error:
                await port.ask("host", request, timeout_s=10.0)
            return f"{error.value.code}: {error.value}"

    assert asyncio.run(refusal(RunProgram(argv=()))) == "invalid: which program? there is none in the request"
    assert asyncio.run(refusal(RunProgram(argv=("a\0b",)))).startswith("invalid: an argument or variable holds a NUL")
    assert asyncio.run(refusal(RunProgram(argv=("a",), env={"x=": "1"}))).startswith("invalid: the name of an env")
    assert "put them in a file" in asyncio.run(refusal(RunProgram(argv=("true", *["x"] * 300_000))))


# ---------------------------------------------------------------- background jobs


def test_a_job_from_start_to_end(console: Console) -> None:
    assert console.header("background-status") == ["id", "pid", "running", "error", "time_start", "time_end", "command"]
    number = begin(console, 'sh -c "echo out; echo err >&2; exit 4"')
    row = ended(console, number)
    assert row["error"] == "exit status 4"
    assert row["command"] == 'sh -c "echo out; echo err >&2; exit 4"'
    assert row["time_start"] <= row["time_end"]
    assert one(console, f"background-output {number}")["Response"] == "out\n"
    assert one(console, f"background-error {number}")["Response"] == "err\n"


def test_a_job_that_succeeds_has_no_error(console: Console) -> None:
    row = ended(console, begin(console, "true"))
    assert (row["running"], row["error"]) == ("false", "")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("background no-such", 'exec: "no-such": executable file not found in $PATH'),
        ("background /tmp", "fork/exec /tmp: is a directory"),
        ("background-output 99", "no background process 99: `background-status` lists them"),
        ("background-error 99", "no background process 99: `background-status` lists them"),
        ("background-kill 99", "no background process 99: `background-status` lists them"),
        ("background-status 99", "no background process 99: `background-status` lists them"),
        ("background-kill -1", "invalid id `-1`: expected the number of a background process"),
        ("background-output x", "invalid id `x`: expected the number of a background process"),
        ("background-status 99999999999999999999", "invalid id `99999999999999999999`: expected"),
    ],
)
def test_refusals(console: Console, line: str, error: str) -> None:
    assert console.error(line).startswith(error)
    assert console.rows("background-status") == []


def test_ended_jobs_are_forgotten_when_told_and_beyond_fifty(running: Product, console: Console) -> None:
    keep = begin(console, "sleep 1000")
    numbers = [begin(console, "true") for _ in range(53)]
    until(lambda: len(console.rows("background-status")) == 51, "the oldest to be forgotten")
    listed = {int(row["id"]) for row in console.rows("background-status")}
    assert keep in listed
    assert numbers[-1] in listed
    console.ok("clear background-status")
    assert [row["id"] for row in console.rows("background-status")] == [str(keep)]
    assert [entry.name for entry in (running.base / "run" / "jobs").iterdir()] == [str(keep)]


def test_kill_ends_all_children(console: Console) -> None:
    """One ignores SIGTERM, one has left the session, one has lost its parent."""
    script = "trap : TERM; sleep 1001 & setsid sleep 1001 & (sleep 1001 &); while :; do sleep 1001; done"
    number = begin(console, f'sh -c "{script}"')
    pid = int(job(console, number)["pid"])
    mark = psutil.Process(pid).environ()[process_tree.MARK]
    until(lambda: len(process_tree.marked(mark)) == 5, "all of them to run")
    console.ok(f"background-kill {number}")
    assert process_tree.marked(mark) == []
    assert job(console, number)["error"] in ("signal: killed", "signal: terminated")
    assert console.error(f"background-kill {number}") == f"background process {number} has ended already"


def test_a_flood_is_bounded_on_disk_and_only_the_end_is_kept(running: Product, console: Console) -> None:
    number = begin(console, 'sh -c "seq 2000000; echo end"')  # 15 MB
    ended(console, number)
    response = one(console, f"background-output {number}")
    assert response["Data"] == {"truncated": True}
    assert response["Response"].startswith("(what it wrote before this is not kept)\n")
    assert response["Response"].endswith("\n2000000\nend\n")
    files = (running.base / "run" / "jobs" / str(number)).iterdir()
    assert sum(file.stat().st_size for file in files) <= 8 * 1024 * 1024 + 2 * 65_536


def test_jobs_are_told_of_on_the_bus(running: Product, console: Console) -> None:
    async def watch() -> list[tuple[bool, str]]:
        async with connect(running.base) as port:
            jobs = await port.subscribe(topic("node", host_name(), "job"))
            started = await port.ask("host", StartJob(argv=("false",)), timeout_s=10.0)
            seen = []
            for _ in range(2):
                delivery = await asyncio.wait_for(jobs.next(), 10.0)
                assert delivery.topic == job_topic(host_name(), started.job.job_id)
                event = codec.decode_body(delivery.body)
                assert isinstance(event, JobChanged)
                seen.append((event.job.running, event.job.error))
            return seen

    assert asyncio.run(watch()) == [(True, ""), (False, "exit status 1")]


def test_check_finds_nothing_wrong_here(console: Console) -> None:
    response = one(console, "check")
    assert (response["Response"], response["Error"]) == ("", "")
    assert {"cgroup freezer", "root", "overlay"} <= {finding["name"] for finding in response["Data"]}
    assert all(finding["present"] for finding in response["Data"])


def test_ids_complete(running: Product, console: Console) -> None:
    number = begin(console, "sleep 1000")
    console._socket.sendall(json.dumps({"Command": "", "Suggest": "background-kill ", "PlumbPipe": ""}).encode())
    reply = json.loads(console._replies.readline())
    assert [line.split() for line in reply["Suggest"]] == [["background-kill", str(number)], ["background-kill", "all"]]


# ---------------------------------------------------------------- crashes


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
            second = begin(console, 'sh -c "trap : TERM; while :; do sleep 1003; done"')
        until(lambda: len(process_tree.marked(f"{product.tag}-")) >= 4, "them to run")
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
