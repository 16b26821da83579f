"""Pipes that outlive their reader, and the last part of a stream in files."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from shims.programs import job_output
from shims.programs.job_output import JobOutput, Segments


class Watched:
    """The output of a job, with what it told of itself."""

    def __init__(self, directory: Path, segment: int = job_output.SEGMENT) -> None:
        self.directory = directory
        self.lost: list[OSError] = []
        self.over: set[str] = set()
        self.all_over = asyncio.Event()
        self.output = JobOutput(str(directory), on_lost=self.lost.append, on_end=self._ended, segment=segment)

    def _ended(self, stream: str) -> None:
        self.over.add(stream)
        if self.over == set(job_output.STREAMS):
            self.all_over.set()

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """Run a script that writes here."""
        stdout, stderr = self.output.create()
        try:
            return subprocess.Popen(["sh", "-c", script], stdout=stdout, stderr=stderr)
        finally:
            os.close(stdout)
            os.close(stderr)

    async def begin(self) -> None:
        """Wait until something has been written down."""
        async with asyncio.timeout(10.0):
            while not self.text():  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Wait until nobody writes any more."""
        await asyncio.wait_for(self.all_over.wait(), 10.0)

    def text(self, stream: str = "stdout") -> bytes:
        """What is kept of a stream."""
        return job_output.read(str(self.directory), stream)[0]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the job's output goes."""
    return tmp_path / "run" / "7"


# ---------------------------------------------------------------- a job that writes


async def test_both_streams_are_kept_apart(directory: Path) -> None:
    watched = Watched(directory)
    program = watched.start("echo out; echo err >&2")
    await watched.end()
    assert program.wait() == 0
    assert (watched.text("stdout"), watched.text("stderr")) == (b"out\n", b"err\n")
    assert watched.output.descriptors() == {}
    watched.output.close()
    assert (directory.stat().st_mode & 0o777, watched.lost) == (0o700, [])


async def test_a_job_whose_reader_goes_away_waits_for_the_next_one(directory: Path) -> None:
    """Its pipes never break, whatever it writes meanwhile, and no byte is lost."""
    first = Watched(directory)
    program = first.start("trap 'exit 9' PIPE; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo $i; done; echo end >&2")
    await first.begin()
    first.output.close()
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.3)  # 168,894 bytes do not fit into the pipe
    second = Watched(directory)
    second.output.resume({})
    await second.end()
    assert program.wait() == 0
    assert second.text().split() == [b"%d" % number for number in range(1, 30001)]
    assert second.text("stderr") == b"end\n"


async def test_kept_descriptors_give_what_was_written_before_the_end(directory: Path) -> None:
    """Somebody holds copies while nobody reads, as the node does."""
    first = Watched(directory)
    program = first.start("sleep 0.1; echo last words")
    copies = {name: os.dup(fd) for name, fd in first.output.descriptors().items()}
    first.output.close()
    assert program.wait() == 0
    second = Watched(directory)
    second.output.resume(copies)
    await second.end()
    assert second.text() == b"last words\n"
    second.output.close()


async def test_a_job_that_has_ended_meanwhile_has_no_more_to_say(directory: Path) -> None:
    first = Watched(directory)
    program = first.start("echo before")
    await first.begin()
    first.output.close()
    assert program.wait() == 0
    second = Watched(directory)
    second.output.resume({})
    await second.end()
    assert second.text() == b"before\n"


async def test_what_lies_in_the_pipe_can_be_taken_at_once(directory: Path) -> None:
    watched = Watched(directory)
    program = watched.start("echo out; sleep 1000 & echo $!")
    program.wait()
    watched.output.drain()
    first, child = watched.text().split()
    assert first == b"out"
    os.kill(int(child), 9)
    await watched.end()


async def test_output_that_cannot_be_written_down_does_not_hold_the_job_up(directory: Path) -> None:
    watched = Watched(directory)
    program = watched.start("sleep 0.1; seq 100000")
    (directory / "stdout.0").mkdir()  # where the file should be
    await watched.end()
    assert program.wait() == 0
    assert len(watched.lost) == 1
    assert isinstance(watched.lost[0], IsADirectoryError)


async def test_what_cannot_be_made_leaves_nothing(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "stdout.pipe").touch()
    before = psutil.Process().num_fds()
    with pytest.raises(FileExistsError):
        Watched(directory).output.create()
    assert psutil.Process().num_fds() == before


async def test_without_its_pipes_there_is_nothing_to_resume(directory: Path) -> None:
    watched = Watched(directory)
    watched.output.resume({})
    assert [type(error) for error in watched.lost] == [FileNotFoundError, FileNotFoundError]
    watched.output.close()


async def test_removing_leaves_nothing_and_may_be_repeated(directory: Path) -> None:
    watched = Watched(directory)
    program = watched.start("echo x")
    program.wait()
    watched.output.remove()
    watched.output.remove()
    job_output.remove(str(directory))
    assert not directory.exists()
    assert job_output.read(str(directory), "stdout") == (b"", False)


# ---------------------------------------------------------------- the files


def test_the_last_two_files_are_kept(tmp_path: Path) -> None:
    segments = Segments(str(tmp_path), "stdout", segment=10)
    for number in range(7):
        segments.append(b"%d" % number * 6)
    segments.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stdout.2", "stdout.3"]
    assert job_output.read(str(tmp_path), "stdout") == (b"444444555555666666", True)


def test_nothing_is_lost_below_the_limit(tmp_path: Path) -> None:
    segments = Segments(str(tmp_path), "stdout", segment=10)
    for _ in range(3):
        segments.append(b"123456")
    segments.close()
    assert job_output.read(str(tmp_path), "stdout") == (b"123456" * 3, False)


def test_the_next_reader_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    for part in (b"a" * 6, b"b" * 6, b"c" * 6, b"d"):
        segments = Segments(str(tmp_path), "stdout", segment=10)
        segments.append(part)
        segments.close()
    assert job_output.read(str(tmp_path), "stdout") == (b"aaaaaabbbbbbccccccd", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stdout.0", "stdout.1"]


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("stderr.4", "stdout.pipe", "stdout", "stdoutx.9"):
        (tmp_path / name).write_text("other")
    segments = Segments(str(tmp_path), "stdout", segment=1)
    segments.append(b"x")
    segments.close()
    assert job_output.read(str(tmp_path), "stdout") == (b"x", False)
