"""Real programs: found, started, watched, captured."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bus import descriptors
from shims.programs import process
from shims.programs.process import NotStartedError, Outcome, PipeReader, Program

LIMIT = 1_000_000
ENV = dict(os.environ)


async def run(*argv: str, limit: int = LIMIT, env: dict[str, str] = ENV) -> Outcome:
    """Run a program to its end."""
    return await asyncio.wait_for(Program(argv, env, limit).outcome(), 10.0)


async def sh(script: str, *, limit: int = LIMIT) -> Outcome:
    """Run a script of the shell."""
    return await run("sh", "-c", script, limit=limit)


# ---------------------------------------------------------------- what it says and how it ends


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo out; echo err >&2; exit 3", Outcome(b"out\n", b"err\n", 3, False)),
        ("exec >&-; sleep 0.1; echo late >&2", Outcome(b"", b"late\n", 0, False)),
        ("kill -9 $$", Outcome(b"", b"", -9, False)),
        ("kill -TERM $$", Outcome(b"", b"", -15, False)),
        ("printf '\\377\\000x'", Outcome(b"\xff\x00x", b"", 0, False)),
        ("cat; echo done", Outcome(b"done\n", b"", 0, False)),
        ("head -c 65536 /dev/zero | tr '\\0' x; exit 1", Outcome(b"x" * 65536, b"", 1, False)),
    ],
)
async def test_what_it_says_and_how_it_ends(script: str, expected: Outcome) -> None:
    assert await sh(script) == expected


async def test_a_flood_does_not_end_the_program_nor_fill_the_memory() -> None:
    outcome = await sh("head -c 3000000 /dev/zero; echo end >&2; exit 5", limit=1000)
    assert outcome == Outcome(bytes(1000), b"", 5, True)


async def test_a_flood_leaves_the_loop_to_others() -> None:
    program = Program(["yes"], ENV, 1000)
    begun_s = time.process_time()
    for _ in range(1000):
        await asyncio.sleep(0)
    took_s = time.process_time() - begun_s
    os.kill(program.pid, signal.SIGKILL)
    assert (await program.outcome()).exit_status == -9
    assert took_s < 1.0


async def test_a_child_that_lives_on_is_not_waited_for() -> None:
    begun_s = time.monotonic()
    outcome = await sh("sleep 30 & echo $!")
    assert time.monotonic() - begun_s < 10.0
    child = psutil.Process(int(outcome.stdout))
    child.kill()


async def test_it_leads_a_session_of_its_own_and_has_nothing_to_read() -> None:
    outcome = await run(
        sys.executable, "-c", "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"
    )
    assert outcome.stdout == b"True ''\n"


async def test_it_gets_no_descriptor_of_ours() -> None:
    kept = os.open("/dev/null", os.O_RDONLY)
    try:
        assert (await run("ls", "/proc/self/fd")).stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing itself
    finally:
        os.close(kept)


async def test_it_gets_the_limit_of_descriptors_that_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(descriptors, "_before", None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        descriptors.raise_limit()
        descriptors.raise_limit()  # as an actor does whose node has done so
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert (await sh("sleep 0.1; ulimit -n")).stdout == b"512\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_limit_that_was_not_raised_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(descriptors, "_before", None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        assert (await sh("ulimit -n")).stdout == b"512\n"
        assert descriptors.limit_before() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# ---------------------------------------------------------------- what does not start


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A directory with what cannot be executed."""
    (tmp_path / "plain").write_text("not for execution")
    (tmp_path / "garbage").write_bytes(b"\x7fELF but no more")
    (tmp_path / "garbage").chmod(0o755)
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("{}/plain", "fork/exec {}/plain: permission denied"),
        ("{}", "fork/exec {}: is a directory"),
        ("{}/garbage", "fork/exec {}/garbage: exec format error"),
        ("{}/script", "fork/exec {}/script: no such file or directory"),
        ("{}/none", "fork/exec {}/none: no such file or directory"),
        ("plain", 'exec: "plain": executable file not found in $PATH'),
        ("", 'exec: "": executable file not found in $PATH'),
    ],
)
async def test_what_is_no_program(broken: Path, name: str, sentence: str) -> None:
    with pytest.raises(NotStartedError) as error:
        Program([name.format(broken)], {"PATH": str(broken)}, LIMIT)
    assert str(error.value) == sentence.format(broken)
    assert error.value.missing == sentence.startswith("exec:")


@pytest.mark.parametrize(
    ("argv", "env", "reason"),
    [
        (["true", "x" * 200_000], {}, "argument list too long"),
        (["true", *["x" * 100_000] * 100], {}, "argument list too long"),
        (["true", "a\0b"], {}, "embedded null byte"),
        (["true"], {"A=B": "c"}, "illegal environment variable name"),
    ],
)
async def test_what_the_kernel_does_not_take(argv: list[str], env: dict[str, str], reason: str) -> None:
    with pytest.raises(NotStartedError) as error:
        Program(argv, env, LIMIT)
    assert str(error.value).startswith("fork/exec /")
    assert reason in str(error.value)


async def test_there_is_no_descriptor_left() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    for room in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, before[1]))
        try:
            with pytest.raises(NotStartedError, match="oo many open files"):
                Program(["true"], ENV, LIMIT)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


# ---------------------------------------------------------------- where it is found


@pytest.mark.parametrize("path", ["{0}", "/nowhere:{0}", ":{0}", "{0}::", "/nowhere:{0}:/bin"])
def test_it_is_found_in_the_path_of_its_environment(broken: Path, path: str) -> None:
    assert process.find_program("garbage", {"PATH": path.format(broken)}) == f"{broken}/garbage"


@pytest.mark.parametrize("path", ["", ":", "/nowhere", "."])
def test_the_working_directory_is_no_part_of_the_path(path: str, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(broken.parent)
    with pytest.raises(NotStartedError):
        process.find_program("garbage", {"PATH": path})


def test_without_a_path_the_usual_one_counts() -> None:
    assert process.find_program("sh", {}).endswith("/bin/sh")


def test_an_environment_is_laid_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "k")
    monkeypatch.setenv("CHANGED", "old")
    monkeypatch.setenv("GONE", "old")
    made = process.environment({"CHANGED": "new", "GONE": "", "ADDED": "a"})
    assert {name: made.get(name) for name in ("KEPT", "CHANGED", "GONE", "ADDED")} == {
        "KEPT": "k",
        "CHANGED": "new",
        "GONE": None,
        "ADDED": "a",
    }


# ---------------------------------------------------------------- watching


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends soon, and is reaped afterwards."""
    with subprocess.Popen(["sleep", "0.05"]) as child:
        yield child


async def test_the_end_of_a_process_is_seen_before_it_is_reaped(child: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(child.pid)
    await asyncio.wait_for(process.wait_for_end(pidfd), 10.0)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    os.close(pidfd)


class Taker:
    """Notes what a reader gives it."""

    def __init__(self, *, wants_more: bool) -> None:
        self.taken = b""
        self.came = asyncio.Event()
        self.over = asyncio.Event()
        self._wants_more = wants_more

    def take(self, data: bytes) -> bool:
        """As `PipeReader` calls it."""
        self.taken += data
        self.came.set()
        return self._wants_more


async def test_a_reader_reads_to_the_end_and_says_so() -> None:
    source, sink = os.pipe2(os.O_CLOEXEC)
    taker = Taker(wants_more=True)
    reader = PipeReader(source, taker.take, taker.over.set)
    os.write(sink, b"first ")
    await asyncio.wait_for(taker.came.wait(), 10.0)
    os.write(sink, b"last")
    os.close(sink)
    await asyncio.wait_for(taker.over.wait(), 10.0)
    assert (taker.taken, reader.closed) == (b"first last", True)
    reader.close()


async def test_a_closed_reader_takes_nothing_even_after_a_pause() -> None:
    source, sink = os.pipe2(os.O_CLOEXEC)
    taker = Taker(wants_more=False)
    reader = PipeReader(source, taker.take, taker.over.set)
    os.write(sink, bytes(process.CHUNK))
    await asyncio.wait_for(taker.came.wait(), 10.0)
    os.write(sink, b"more")
    reader.close()
    await asyncio.sleep(2 * process.PAUSE_S)
    os.close(sink)
    assert (len(taker.taken), taker.over.is_set()) == (process.CHUNK, False)


async def test_draining_takes_what_is_there_and_does_not_wait_for_more() -> None:
    source, sink = os.pipe2(os.O_CLOEXEC)
    taker = Taker(wants_more=True)
    reader = PipeReader(source, taker.take, taker.over.set)
    os.write(sink, b"there")
    reader.drain()
    assert (taker.taken, reader.closed) == (b"there", False)
    os.close(sink)
    reader.drain()
    assert (reader.closed, taker.over.is_set()) == (True, True)
