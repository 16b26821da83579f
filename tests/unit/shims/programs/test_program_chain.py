"""Programs in a row, real ones."""

from __future__ import annotations

import asyncio
import os
import resource

import pytest

from shims.programs import line_buffering, process
from shims.programs.process import NotStartedError
from shims.programs.program_chain import KEPT_STDERR, NICENESS, Chain, Tail, is_program

PATIENCE_S = 20.0


def chain(*argvs: list[str], fed: bool = True, read: bool = True, env: dict[str, str] | None = None) -> Chain:
    return Chain(argvs, process.environment(env or {}), fed=fed, read=read)


async def all_of(made: Chain) -> bytes:
    """What comes out until the end."""
    assert made.stdout is not None
    parts = []
    async with asyncio.timeout(PATIENCE_S):
        while data := await made.stdout.read():
            parts.append(data)
    return b"".join(parts)


async def over(made: Chain) -> list[int | None]:
    """How its programs ended; nothing of it is left."""
    async with asyncio.timeout(PATIENCE_S):
        for program in made.programs:
            await program.wait()
    made.close()
    made.close()
    return [program.exit_status for program in made.programs]


async def test_what_goes_in_comes_out_at_the_other_end() -> None:
    made = chain(["grep", "-v", "b"], ["tr", "a-z", "A-Z"], ["sort", "-r"])
    assert made.stdin is not None
    await made.stdin.write(b"a\nb\nc")
    made.stdin.close()
    assert await all_of(made) == b"C\nA\n"
    assert await over(made) == [0, 0, 0]


async def test_much_more_than_a_pipe_holds() -> None:
    made = chain(["cat"], ["cat"])
    assert made.stdin is not None
    data = os.urandom(1 << 20) * 3
    writing = asyncio.ensure_future(made.stdin.write(data))
    assert made.stdout is not None
    got = b""
    while len(got) < len(data):
        got += await made.stdout.read()
    await writing
    made.stdin.close()
    assert got == data
    assert await all_of(made) == b""
    assert await over(made) == [0, 0]


async def test_one_that_has_enough_ends_those_before_it() -> None:
    made = chain(["yes"], ["head", "-n", "2"], fed=False)
    assert made.stdin is None
    assert await all_of(made) == b"y\ny\n"
    assert await over(made) == [-13, 0]


async def test_writing_to_one_that_has_ended() -> None:
    made = chain(["true"], read=False)
    assert made.stdout is None
    assert made.stdin is not None
    await made.programs[0].wait()
    with pytest.raises(BrokenPipeError):
        await made.stdin.write(b"x")
    assert await over(made) == [0]
    with pytest.raises(BrokenPipeError):
        await made.stdin.write(b"x")


async def test_what_it_complains_of_is_kept() -> None:
    made = chain(
        ["sh", "-c", "echo oh >&2; exit 3"], ["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2"], read=False
    )
    assert await over(made) == [3, 0]
    assert [program.stderr for program in made.programs] == ["oh\n", "x" * KEPT_STDERR]


async def test_none_is_started_if_one_is_missing() -> None:
    with pytest.raises(NotStartedError, match='"nonesuch": executable file not found') as caught:
        chain(["sleep", "1000"], ["nonesuch"])
    assert caught.value.missing


async def test_those_before_one_that_does_not_start_are_ended() -> None:
    with pytest.raises(NotStartedError, match="permission denied"):
        chain(["sleep", "1000"], ["/etc/passwd"], ["cat"])  # the check of what a test leaves behind does the rest


async def test_limits_of_what_runs() -> None:
    made = chain(["sh", "-c", "read go; nice; ulimit -n; ps -o sid= -p $$ | tr -d ' '; cat"])
    assert made.stdin is not None
    assert made.stdout is not None
    await made.stdin.write(b"go\n")  # its niceness is set when it runs already
    said = (await made.stdout.read()).split()
    while len(said) < 3:
        said += (await made.stdout.read()).split()
    assert [int(word) for word in said[:3]] == [
        NICENESS,  # whatever this process itself has
        resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        made.programs[0].pid,
    ]
    made.abandon()
    assert made.programs[0].exit_status == -9


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [([b"abc", b"def"], "cdef"), ([b"a" * 100], "aaaa"), (["xé".encode(), b"abc"], "abc"), ([b"ab"], "ab"), ([], "")],
)
def test_the_end_of_what_is_said(pieces: list[bytes], kept: str) -> None:
    tail = Tail(4)
    for piece in pieces:
        assert not tail.take(piece)
    assert tail.text == kept


@pytest.mark.parametrize(
    ("name", "yes"),
    [("cat", True), ("/bin/cat", True), ("nonesuch", False), ("/etc", False), ("/etc/passwd", False), ("", False)],
)
def test_what_is_a_program(name: str, yes: bool) -> None:
    assert is_program(name, process.environment({})) is yes


@pytest.mark.parametrize(
    "argv",
    [
        ["grep", "a"],
        ["sed", "s/a/a/"],
        ["tr", "b", "b"],
        ["cut", "-c1-3"],
        ["uniq"],
        [os.environ.get("PYTHON", "python3"), "-c", "import sys\nfor line in sys.stdin: print(line.strip())"],
        ["sh", "-c", "grep a | sed s/a/a/"],
    ],
    ids=lambda argv: argv[0],
)
async def test_each_line_comes_out_at_once(argv: list[str]) -> None:
    made = chain(argv, env=await line_buffering.variables())
    assert made.stdin is not None
    assert made.stdout is not None
    got = b""
    await made.stdin.write(b"abc\n")
    async with asyncio.timeout(PATIENCE_S):
        while not got.endswith(b"\n"):
            got += await made.stdout.read()
    assert got == b"abc\n"
    made.stdin.close()
    assert await all_of(made) == b""
    assert set(await over(made)) == {0}


async def test_without_stdbuf_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_buffering, "PROBE", ("nonesuch",))
    with pytest.raises(NotStartedError, match="nonesuch"):
        await line_buffering.variables()
    monkeypatch.setattr(line_buffering, "PROBE", ("sh", "-c", "echo no such option >&2; exit 125"))
    with pytest.raises(NotStartedError, match="stdbuf did not tell what it changes: no such option"):
        await line_buffering.variables()
