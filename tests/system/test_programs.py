"""Programs run through the product: `shell`, background jobs, their end, and what outlives which crash."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator

import psutil
import pytest

from bus import codec
from bus.client import connect
from bus.errors import BusError
from bus.messages.host import JobChanged, RunProgram, StartJob
from bus.paths import host_name
from bus.topics import job_topic, topic
from shims.programs import process_tree
from tests.system.product import Console, Product, until
from tests.system.programs import begin, ended, job, one, processes_with


@pytest.fixture
def console(shared: Product) -> Iterator[Console]:
    """A connection; afterwards no job is left."""
    with shared.console() as console:
        yield console
        console.ok("background-kill all", "clear background-status")
        assert console.rows("background-status") == []
    assert process_tree.marked(f"{shared.tag}-") == []
    assert not list((shared.base / "run").glob("jobs/*"))


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


def test_a_program_that_waits_keeps_nobody_waiting(shared: Product, console: Console) -> None:
    with shared.console() as waiting:
        waiting.send("shell sleep 5")
        begun_s = time.monotonic()
        console.ok("vm info", "shell true", "background-status")
        assert time.monotonic() - begun_s < 4.5
        waiting.close()


def test_a_program_completes_without_its_client(shared: Product, console: Console) -> None:
    done, gate = shared.base / "done", shared.base / "gate"
    os.mkfifo(gate)
    with shared.console() as leaving:
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


def test_the_client_s_variables(shared: Product, console: Console) -> None:
    async def run() -> str:
        async with connect(shared.base) as port:
            request = RunProgram(argv=("sh", "-c", "echo $GREETING-${LANG-gone}"), env={"GREETING": "hi", "LANG": ""})
            return (await port.ask("host", request, timeout_s=10.0)).stdout

    assert asyncio.run(run()) == "hi-gone\n"


def test_what_is_no_program_at_all(shared: Product) -> None:
    async def refusal(request: RunProgram) -> str:
        async with connect(shared.base) as port:
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


def test_ended_jobs_are_forgotten_when_told_and_beyond_fifty(shared: Product, console: Console) -> None:
    keep = begin(console, "sleep 1000")
    numbers = [begin(console, "true") for _ in range(53)]
    until(lambda: len(console.rows("background-status")) == 51, "the oldest to be forgotten")
    listed = {int(row["id"]) for row in console.rows("background-status")}
    assert keep in listed
    assert numbers[-1] in listed
    console.ok("clear background-status")
    assert [row["id"] for row in console.rows("background-status")] == [str(keep)]
    assert [entry.name for entry in (shared.base / "run" / "jobs").iterdir()] == [str(keep)]


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


def test_children_that_outlive_their_program_can_still_be_ended(console: Console) -> None:
    number = begin(console, 'sh -c "(while :; do echo on; sleep 0.05; done) & exit 3"')
    assert ended(console, number)["error"] == "exit status 3"
    said = one(console, f"background-output {number}")["Response"]
    until(lambda: len(one(console, f"background-output {number}")["Response"]) > len(said), "the child to go on")
    console.ok(f"background-kill {number}")
    assert console.error(f"background-kill {number}") == f"background process {number} has ended already"


def test_a_flood_is_bounded_on_disk_and_only_the_end_is_kept(shared: Product, console: Console) -> None:
    number = begin(console, 'sh -c "seq 2000000; echo end"')  # 15 MB
    ended(console, number)
    response = one(console, f"background-output {number}")
    assert response["Data"] == {"truncated": True}
    assert response["Response"].startswith("(what it wrote before this is not kept)\n")
    assert response["Response"].endswith("\n2000000\nend\n")
    files = (shared.base / "run" / "jobs" / str(number)).iterdir()
    assert sum(file.stat().st_size for file in files) <= 8 * 1024 * 1024 + 2 * 65_536


def test_jobs_are_told_of_on_the_bus(shared: Product, console: Console) -> None:
    async def watch() -> list[tuple[bool, str]]:
        async with connect(shared.base) as port:
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


def test_ids_complete(shared: Product, console: Console) -> None:
    number = begin(console, "sleep 1000")
    console._socket.sendall(json.dumps({"Command": "", "Suggest": "background-kill ", "PlumbPipe": ""}).encode())
    reply = json.loads(console._replies.readline())
    assert [line.split() for line in reply["Suggest"]] == [["background-kill", str(number)], ["background-kill", "all"]]
