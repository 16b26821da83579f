"""`pipe` and `clear pipe`: what they ask, in which namespace, and what they show."""

from __future__ import annotations

import pytest

from bus.errors import InvalidError, NotFoundError, OverloadedError
from bus.language.pipe_names import resolve
from bus.messages.base import Ack, Message, Request
from bus.messages.pipe import (
    DeletePipes,
    GetPipes,
    Overflow,
    PipeInfo,
    PipeList,
    PipeMode,
    PipeWritten,
    SetPipe,
    WritePipe,
)
from tests.unit.cli.stand_ins import EngineBench

FOO = PipeInfo(
    name="foo",
    mode=PipeMode.ROUND_ROBIN,
    overflow=Overflow.DROP,
    log=True,
    via=("normal", "-stddev", "5 0"),
    readers=2,
    subscribers=3,
    writers=1,
    count=7,
    dropped=4,
    cut_off=1,
    waiting=True,
    last=b"\thello\x1b[1m \xff\n",
)
SHOWN = "hello\\x1b[1m \ufffd"
ANSWERS: dict[type[Message], Message] = {
    GetPipes: PipeList(pipes=(FOO, PipeInfo(name="zoo"))),
    SetPipe: Ack(),
    DeletePipes: Ack(),
    WritePipe: PipeWritten(number=1),
}


def write(pipe: str, data: bytes) -> WritePipe:
    return WritePipe(pipe=pipe, data=data, waits=False)


async def test_the_table_has_the_columns_of_minimega_first() -> None:
    bench = EngineBench(ANSWERS)
    response = await bench.one("pipe")
    assert response.header is not None and response.rows is not None
    assert response.header[:6] == ("name", "mode", "readers", "writers", "via", "last message")
    assert response.header[6:] == ("count", "dropped", "cut_off", "waiting", "log", "overflow")
    assert response.rows == [
        ("foo", "round-robin", "5", "1", 'normal -stddev "5 0"', SHOWN, "7", "4", "1", "true", "true", "drop"),
        ("zoo", "all", "0", "0", "", "", "0", "0", "0", "false", "false", "block"),
    ]


@pytest.mark.parametrize(
    ("line", "request_", "namespace"),
    [
        ("pipe", GetPipes(), "minimega"),
        ("pipe foo hello", write("foo", b"hello"), "minimega"),
        ('pipe foo "a  b \u00fc"', write("foo", "a  b \u00fc".encode()), "minimega"),
        ('pipe foo ""', write("foo", b""), "minimega"),
        ("pipe exp//foo x", write("foo", b"x"), "exp"),
        ("namespace exp pipe foo x", write("foo", b"x"), "exp"),
        ("namespace exp pipe other//foo x", write("foo", b"x"), "other"),
        ("pipe foo all", write("foo", b"all"), "minimega"),
        ("pipe foo mode ro", SetPipe(pipe="foo", mode=PipeMode.ROUND_ROBIN), "minimega"),
        ("pipe foo mode", GetPipes(pipe="foo"), "minimega"),
        ("pipe foo log true", SetPipe(pipe="foo", log=True), "minimega"),
        ("pipe foo log false", SetPipe(pipe="foo", log=False), "minimega"),
        ("pipe foo overflow drop", SetPipe(pipe="foo", overflow=Overflow.DROP), "minimega"),
        ("pipe foo via normal -stddev 5", SetPipe(pipe="foo", via=("normal", "-stddev", "5")), "minimega"),
        ('pipe foo via "normal -stddev 5"', SetPipe(pipe="foo", via=("normal", "-stddev", "5")), "minimega"),
        ("pipe foo via \"sed 's/a b/c/'\"", SetPipe(pipe="foo", via=("sed", "s/a b/c/")), "minimega"),
        ('pipe foo via sed "s/a b/c/"', SetPipe(pipe="foo", via=("sed", "s/a b/c/")), "minimega"),
        ("pipe exp//foo via cat", SetPipe(pipe="foo", via=("cat",)), "exp"),
        ("clear pipe", DeletePipes(), "minimega"),
        ("clear pipe foo", DeletePipes(pipe="foo"), "minimega"),
        ("clear pipe mode", DeletePipes(pipe="mode"), "minimega"),
        ("clear pipe exp//foo", DeletePipes(pipe="foo"), "exp"),
        ("clear pipe foo mode", SetPipe(pipe="foo", mode=PipeMode.ALL), "minimega"),
        ("clear pipe foo log", SetPipe(pipe="foo", log=False), "minimega"),
        ("clear pipe foo via", SetPipe(pipe="foo", via=()), "minimega"),
        ("clear pipe foo overflow", SetPipe(pipe="foo", overflow=Overflow.BLOCK), "minimega"),
    ],
)
async def test_what_is_asked(line: str, request_: Request[Message], namespace: str) -> None:
    bench = EngineBench(ANSWERS)
    assert await bench.error(line) == ""
    asked = bench.bus.asked[-1]
    assert (asked.to, asked.request, asked.namespace) == ("plumber@n1", request_, namespace)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("pipe foo mode", "round-robin"),
        ("pipe foo log", "true"),
        ("pipe foo via", 'normal -stddev "5 0"'),
        ("pipe foo overflow", "drop"),
    ],
)
async def test_a_property_without_a_value_is_shown(line: str, shown: str) -> None:
    bench = EngineBench(ANSWERS)
    assert await bench.text(line) == shown
    assert [type(asked.request) for asked in bench.bus.asked] == [GetPipes], "nothing is written"


@pytest.mark.parametrize(("what", "shown"), [("mode", "all"), ("log", "false"), ("via", ""), ("overflow", "block")])
async def test_a_pipe_that_nobody_has_used_has_the_usual_properties(what: str, shown: str) -> None:
    assert await EngineBench({GetPipes: PipeList(pipes=())}).text(f"pipe new {what}") == shown


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('pipe "" x', "the name of a pipe cannot be empty"),
        ('clear pipe ""', "the name of a pipe cannot be empty"),
        ("clear pipe exp//", "the name of a pipe cannot be empty"),
        ("pipe //x y", "`` is no namespace: pipes of others are named NAMESPACE//PIPE"),
        ("pipe a/b//x y", "`a/b` is no namespace: pipes of others are named NAMESPACE//PIPE"),
        ('pipe foo via ""', "the command of a via cannot be empty"),
        ('pipe foo via "sed \'x"', "cannot read the command of the via: missing terminal '"),
    ],
)
async def test_what_makes_no_sense_asks_nobody(line: str, sentence: str) -> None:
    bench = EngineBench(ANSWERS)
    assert await bench.error(line) == sentence
    assert bench.bus.asked == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("clear pipe foo", NotFoundError("no such pipe: foo")),
        ("pipe a/b x", InvalidError("the name of a pipe cannot contain `/`")),
    ],
)
async def test_the_plumber_refuses(line: str, error: Exception) -> None:
    bench = EngineBench({DeletePipes: error, WritePipe: error})
    assert await bench.error(line) == str(error)


async def test_a_pipe_that_is_full_is_an_error_and_soon() -> None:
    bench = EngineBench({WritePipe: OverloadedError("pipe foo is full")})
    assert await bench.error("pipe foo x") == "pipe foo is full"


async def test_names_are_completed() -> None:
    bench = EngineBench(ANSWERS)
    for typed in ("pipe f", "clear pipe f"):
        assert await bench.engine.suggest(typed, bench.session) == [f"{typed}oo "]
    assert await bench.engine.suggest("pipe foo mo", bench.session) == ["pipe foo mode "]


@pytest.mark.parametrize(
    ("text", "address"),
    [("foo", ("here", "foo")), ("exp//foo", ("exp", "foo")), ("a//b//c", ("a", "b//c")), ("a/b", ("here", "a/b"))],
)
def test_the_address_of_a_pipe(text: str, address: tuple[str, str]) -> None:
    assert resolve(text, "here") == address
