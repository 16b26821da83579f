"""The plumbing programs, as their users start them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.plumbing import execf, normal
from tools.plumbing.lines import PlumbingError

BIN = Path(sys.executable).parent


def run(*argv: str, given: bytes = b"") -> tuple[bytes, str, int]:
    """What one says, what it complains of, and how it ends."""
    done = subprocess.run([BIN / argv[0], *argv[1:]], input=given, capture_output=True, timeout=20)
    return done.stdout, done.stderr.decode(), done.returncode


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", b""),
        (b"a\nb\n", b"1\n2\n"),
        (b"a\n\n\xff\0b", b"1\n2\n3\n"),
        (b"x" * 100_000 + b"\n", b"1\n"),
    ],
)
def test_count(given: bytes, said: bytes) -> None:
    assert run("count", given=given) == (said, "", 0)


def test_normal_without_deviation_says_the_mean() -> None:
    assert run("normal", given=b"5\n 0.1\n-1e30\n1e3") == (b"5\n0.1\n-1e+30\n1000\n", "", 0)


def test_normal_with_a_seed_is_repeatable() -> None:
    first, second = (run("normal", "-stddev", "2.5", "-seed=7", given=b"10\n" * 200) for _ in range(2))
    assert first == second
    samples = [float(line) for line in first[0].split()]
    assert len(set(samples)) == 200
    assert 9 < sum(samples) / 200 < 11
    assert run("normal", "-stddev", "2.5", "-seed", "8", given=b"10\n" * 200)[0] != first[0]


@pytest.mark.parametrize("text", ["x", "", "nan", "inf", "1_000", "\N{DIGIT ONE}\0"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(PlumbingError, match="not a number"):
        normal.number(text)


def test_delay_passes_on_any_bytes() -> None:
    begun = time.monotonic()
    assert run("delay", "-t", "50ms", given=b"\xff\0\r\n\nlast") == (b"\xff\0\r\n\nlast\n", "", 0)
    assert time.monotonic() - begun >= 0.15


def test_each_line_goes_on_at_once() -> None:
    with subprocess.Popen([BIN / "count"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"x\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"1\n"
        program.stdin.close()
        assert program.wait(10) == 0


@pytest.mark.parametrize(
    ("argv", "given", "error"),
    [
        (["normal"], b"5\nfive\n", "normal: not a number: 'five'\n"),
        (["normal", "-stddev", "-1"], b"", "normal: the standard deviation cannot be negative: -1\n"),
        (["normal", "-seed", "x"], b"", "normal: argument -seed: invalid int value: 'x'\n"),
        (["delay", "-t", "soon"], b"", "delay: not a duration such as 200ms, 1.5s or 1m30s: 'soon'\n"),
        (["count", "x"], b"", "count: unrecognized arguments: x\n"),
        (["execf"], b"", "execf: the following arguments are required: FORMAT\n"),
        (["execf", "a %d"], b"", "execf: %d is not known: %v or %s is the line, %% a %\n"),
        (["execf", "a %"], b"", "execf: % is not known: %v or %s is the line, %% a %\n"),
        (["execf", 'a "b'], b"", 'execf: a " is missing\n'),
        (["execf", " "], b"", "execf: there is no command in the format\n"),
        (["execf", "%v"], b"\n", "execf: the line makes an empty command\n"),
        (["execf", "sh -c %v"], b'"exit 3"\n', "execf: sh: exit status 3\n"),
        (["execf", "nonesuch %v"], b"x\n", "execf: nonesuch: No such file or directory\n"),
        (["execf", "echo %v"], b"\0\n", "execf: the line holds a NUL byte, which no program can be given\n"),
    ],
)
def test_errors_are_one_sentence(argv: list[str], given: bytes, error: str) -> None:
    _, said, status = run(*argv, given=given)
    assert (said, status) == (error, 1)


def test_execf_stops_at_the_first_failure() -> None:
    said, error, status = run("execf", "sh -c %v", given=b'"echo one"\n"exit 2"\n"echo three"\n')
    assert (said, error, status) == (b"one\n", "execf: sh: exit status 2\n", 1)


@pytest.mark.parametrize(
    ("template", "line", "argv"),
    [
        (b"echo %v", b"a b", [b"echo", b"a", b"b"]),
        (b"echo %v", b'"a b" c', [b"echo", b"a b", b"c"]),
        (b'echo "%v"', b'a" b', [b"echo", b'a" b']),
        (b"echo x%vy", b"1 2", [b"echo", b"x1", b"2y"]),
        (b'echo "" %s', b"%v", [b"echo", b"", b"%v"]),
        (b"echo %v %s 100%%", b"\xff", [b"echo", b"\xff", b"\xff", b"100%"]),
        (b"echo", b"ignored", [b"echo"]),
        (b"echo %v", b"", [b"echo"]),
        (b'echo "%v"', b"", [b"echo", b""]),
        (b"%v", b"ls -l", [b"ls", b"-l"]),
    ],
)
def test_execf_puts_the_line_into_the_command(template: bytes, line: bytes, argv: list[bytes]) -> None:
    execf.check(template)
    assert execf.words(template, line) == argv


def test_a_reader_that_leaves_ends_it_silently() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as sink:
        done = subprocess.run([BIN / "count"], input=b"a\n", stdout=sink, stderr=subprocess.PIPE, timeout=20)
    assert (done.returncode, done.stderr) == (-13, b"")
