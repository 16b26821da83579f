"""`minibus pipe` as a process: what goes in comes out, how each side ends, what a stopped reader costs."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.patience import FACTOR
from tests.system.product import MINIBUS, Console, Product, one_sentence, until

PIPE = subprocess.PIPE
WAIT_S = 30.0 * FACTOR
Attached = subprocess.Popen[bytes]


def in_use(console: Console) -> list[dict[str, str]]:
    """Pipes that somebody is attached to."""
    return [row for row in console.rows("pipe") if (row["readers"], row["writers"]) != ("0", "0")]


@pytest.fixture
def console(shared: Product) -> Iterator[Console]:
    """A connection; afterwards nobody is attached, and no pipe is left."""
    with shared.console() as console:
        yield console
        until(lambda: not in_use(console), "everybody to leave")
        if console.rows("pipe"):
            console.ok("clear pipe")
        assert console.rows("pipe") == []


@contextmanager
def attached(
    product: Product, *arguments: str, stdin: int | None = PIPE, stdout: int | None = PIPE
) -> Iterator[Attached]:
    """`minibus pipe` with these arguments; nothing is left of it afterwards."""
    argv = [str(MINIBUS), "pipe", "--base", str(product.base), *arguments]
    with subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=PIPE, cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def reading_to(product: Product, file: Path) -> Iterator[Attached]:
    """`minibus pipe --read foo` with a file that takes all of it."""
    with file.open("wb") as out, attached(product, "--read", "foo", stdin=None, stdout=out.fileno()) as process:
        yield process


def has_readers(console: Console, name: str, count: int = 1) -> None:
    """Wait until a pipe has so many."""
    until(lambda: {row["name"]: row["readers"] for row in console.rows("pipe")}.get(name) == str(count), "readers")


def is_last_message(console: Console, text: str) -> bool:
    """Whether it came last into the only pipe there is."""
    return [row["last message"] for row in console.rows("pipe")] == [text]


def end(process: Attached, data: bytes | None = None) -> tuple[int, bytes, str]:
    """Status, output and stderr once it has ended."""
    out, err = process.communicate(data, timeout=WAIT_S)
    return process.returncode, out or b"", err.decode()


def test_one_to_one_nothing_is_lost(shared: Product, console: Console, tmp_path: Path) -> None:
    data = b"".join(b"%d %s\n" % (number, b"x" * 85) for number in range(100_000))
    with reading_to(shared, tmp_path / "out") as reader:
        has_readers(console, "foo")
        with attached(shared, "--write", "foo") as writer:
            assert end(writer, data) == (0, b"", "")
        console.ok("clear pipe foo")
        assert end(reader) == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == data


def test_own_messages_come_back_and_the_end_of_stdin_ends_it(shared: Product, console: Console) -> None:
    for arguments in (("foo",), ("minimega//foo",), ("--read", "--write", "foo")):
        with attached(shared, *arguments) as process:
            assert end(process, b"one\n\ntwo\xff\0\nlast") == (0, b"one\n\ntwo\xff\0\nlast\n", "")
    assert [row["last message"] for row in console.rows("pipe")] == ["last"]


def test_the_flag_of_minimega(shared: Product, console: Console) -> None:
    argv = [str(MINIBUS), "-base", str(shared.base), "-pipe", "foo"]
    done = subprocess.run(argv, input=b"one\n", capture_output=True, timeout=WAIT_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\n", b"")


def test_messages_come_one_by_one_and_at_once(shared: Product, console: Console) -> None:
    with attached(shared, "foo") as process:
        assert process.stdin is not None and process.stdout is not None
        for number in range(20):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            assert process.stdout.readline() == b"%d\n" % number
        console.ok("pipe foo typed")
        assert process.stdout.readline() == b"typed\n"
        assert end(process) == (0, b"", "")


def test_a_namespace(shared: Product, console: Console) -> None:
    with attached(shared, "--namespace", "exp", "--read", "foo", stdin=None) as process:
        until(lambda: len(console.rows("namespace exp pipe")) == 1, "the pipe")
        console.ok("pipe foo other", "pipe exp//foo mine", "clear pipe exp//foo", "clear pipe foo")
        assert end(process) == (0, b"mine\n", "")


def test_the_end_of_a_namespace_ends_its_pipes(shared: Product, console: Console) -> None:
    with shared.console() as other, attached(shared, "--read", "exp//foo", stdin=None) as reader:
        other.ok("namespace exp", "plumb foo cat bar")
        until(lambda: [row["readers"] for row in other.rows("pipe") if row["name"] == "foo"] == ["2"], "both readers")
        other.ok("pipe foo mode round-robin", "clear namespace exp")
        assert end(reader) == (0, b"", "")
        assert (console.rows("namespace exp plumb"), console.rows("namespace exp pipe")) == ([], [])
        console.ok("clear namespace exp")


def test_the_end_of_the_pipe_ends_those_who_read(shared: Product, console: Console) -> None:
    with attached(shared, "foo") as both, attached(shared, "--read", "foo") as reader:
        has_readers(console, "foo", 2)
        console.ok("pipe foo last", "clear pipe foo")
        assert (both.wait(WAIT_S), reader.wait(WAIT_S)) == (0, 0), "though their stdin is open"
        assert end(reader) == end(both) == (0, b"last\n", "")


def test_who_only_writes_outlives_the_pipe(shared: Product, console: Console) -> None:
    with attached(shared, "--write", "foo") as writer:
        assert writer.stdin is not None
        for text in ("one", "two"):
            writer.stdin.write(f"{text}\n".encode())
            writer.stdin.flush()
            is_last = functools.partial(is_last_message, console, text)
            until(is_last, text)
            console.ok("clear pipe foo")
        assert end(writer) == (0, b"", "")


def test_a_signal_ends_it(shared: Product, console: Console) -> None:
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with attached(shared, "foo") as process:
            has_readers(console, "foo")
            process.send_signal(number)
            assert end(process) == (status, b"", "")
        has_readers(console, "foo", 0)


def test_stdout_is_closed_and_writing_goes_on(shared: Product, console: Console) -> None:
    with attached(shared, "--read", "foo") as reader, attached(shared, "foo") as both:
        has_readers(console, "foo", 2)
        assert both.stdin is not None and both.stdout is not None
        both.stdout.close()
        has_readers(console, "foo", 1)
        both.stdin.write(b"still\n")
        both.stdin.close()
        assert both.wait(WAIT_S) == 0
        console.ok("clear pipe foo")
        assert end(reader) == (0, b"still\n", "")


def test_who_only_reads_ends_with_whoever_reads_it(shared: Product, console: Console) -> None:
    with attached(shared, "--read", "foo") as reader:
        has_readers(console, "foo")
        assert reader.stdout is not None
        reader.stdout.close()
        assert reader.wait(WAIT_S) == 141


def test_a_line_of_16_mib(shared: Product, console: Console, tmp_path: Path) -> None:
    line = b"x" * (16 * 1024 * 1024) + b"\n"
    with reading_to(shared, tmp_path / "out") as reader:
        has_readers(console, "foo")
        with attached(shared, "--write", "foo") as writer:
            assert end(writer, b"before\n" + line + b"after\n") == (0, b"", "")
        with attached(shared, "--write", "foo") as writer:
            status, _, said = end(writer, b"sent\n" + line[:-1] + b"xy\nnever\n")
            assert status == 1 and "longer than 16777216 bytes" in one_sentence(said.rstrip("\n"))
        console.ok("clear pipe foo")
        assert end(reader) == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == b"before\n" + line + b"after\n" + b"sent\n"


def test_framed(shared: Product, console: Console) -> None:
    frames = b"\0\0\0\2a\n" + b"\0\0\0\0" + b"\0\0\0\3\xff\0b"
    with attached(shared, "--read", "--framed", "foo") as binary, attached(shared, "--read", "foo") as text:
        has_readers(console, "foo", 2)
        with attached(shared, "--write", "--framed", "foo") as writer:
            assert end(writer, frames) == (0, b"", "")
        with attached(shared, "--write", "--framed", "foo") as writer:
            status, _, said = end(writer, b"\0\0\0\1z\0\0\0\5a")
            assert (status, said) == (1, "minibus: stdin ended within a frame\n")
        console.ok("pipe foo line", "clear pipe foo")
        assert end(binary) == (0, frames + b"\0\0\0\1z" + b"\0\0\0\4line", "")
        assert end(text) == (0, b"a\n\n\xff\0b\nz\nline\n", "")


def test_a_reader_that_stands_still_is_cut_off_and_told(shared: Product, console: Console) -> None:
    data = b"".join(b"%d %s\n" % (number, b"y" * 90) for number in range(300_000))
    with (
        attached(shared, "--read", "foo") as stopped,
        attached(shared, "--read", "foo", stdout=subprocess.DEVNULL) as other,
    ):
        has_readers(console, "foo", 2)
        stopped.send_signal(signal.SIGSTOP)
        with attached(shared, "--write", "foo") as writer:
            assert end(writer, data) == (0, b"", "")
        (row,) = console.rows("pipe")
        assert (row["cut_off"], row["readers"], row["count"]) == ("1", "1", "300000")
        assert int(row["dropped"]) > 0
        stopped.send_signal(signal.SIGCONT)
        status, out, said = end(stopped)
        assert status == 1 and data.startswith(out)
        assert "cut off" in one_sentence(said.rstrip("\n"))
        console.ok("clear pipe foo")
        assert other.wait(WAIT_S) == 0


def test_a_reader_whose_output_waits_holds_writers_back_and_loses_nothing(shared: Product, console: Console) -> None:
    """It is alive: its thread stands at a full pipe, and it says so to the plumber."""
    data = b"".join(b"%d %s\n" % (number, b"z" * 90) for number in range(200_000))
    with attached(shared, "--read", "foo") as reader, attached(shared, "--write", "foo", stdin=PIPE) as writer:
        has_readers(console, "foo")
        assert writer.stdin is not None and reader.stdout is not None
        os.set_blocking(writer.stdin.fileno(), False)
        left = memoryview(data)
        deadline = time.monotonic() + 7.0  # longer than a silent reader is borne with
        while time.monotonic() < deadline:
            try:
                left = left[os.write(writer.stdin.fileno(), left[:65_536]) :]
            except BlockingIOError:
                time.sleep(0.05)
        assert left, "writers were held back"
        assert reader.poll() is None
        (row,) = console.rows("pipe")
        assert (row["cut_off"], row["dropped"]) == ("0", "0")
        os.set_blocking(writer.stdin.fileno(), True)
        rest = bytes(left)
        got: list[bytes] = []
        with subprocess.Popen(["cat"], stdin=reader.stdout, stdout=PIPE) as cat:
            reader.stdout.close()
            pid = os.fork()
            if pid == 0:
                with open(writer.stdin.fileno(), "wb", closefd=False) as file:
                    file.write(rest)
                os._exit(0)
            writer.stdin.close()
            assert cat.stdout is not None
            while sum(map(len, got)) < len(data):
                got.append(os.read(cat.stdout.fileno(), 1_048_576))
            os.waitpid(pid, 0)
            console.ok("clear pipe foo")
        assert b"".join(got) == data
        assert (writer.wait(WAIT_S), reader.wait(WAIT_S)) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a/b",), "cannot contain `/`"),
        (("",), "cannot be empty"),
        (("x" * 10_000,), "at most"),
        (("a\nb",), "control characters"),
        (("a b//foo",), "is no namespace"),
    ],
)
def test_names_that_cannot_be(shared: Product, console: Console, arguments: tuple[str, ...], words: str) -> None:
    for flags in ((), ("--read",), ("--write",)):
        with attached(shared, *flags, *arguments) as process:
            status, out, said = end(process, b"x\n")
            assert (status, out) == (1, b"")
            assert words in one_sentence(said.removesuffix("\n"))


def test_the_plumber_is_killed_and_both_go_on(shared: Product, console: Console) -> None:
    with attached(shared, "--read", "foo") as reader, attached(shared, "--write", "foo") as writer:
        has_readers(console, "foo")
        assert writer.stdin is not None and reader.stdout is not None
        writer.stdin.write(b"before\n")
        writer.stdin.flush()
        assert reader.stdout.readline() == b"before\n"
        shared.replaced("plumber", shared.kill("plumber"))
        has_readers(console, "foo")
        assert end(writer, b"after\n") == (0, b"", "")
        while (
            line := reader.stdout.readline()
        ) == b"before\n":  # again, if the plumber died before it had told the writer
            pass
        assert line == b"after\n"
        console.ok("clear pipe foo")
        assert end(reader) == (0, b"", "")
