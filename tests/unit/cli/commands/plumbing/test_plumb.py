"""`plumb` and `clear plumb`, as clients see them."""

from __future__ import annotations

import pytest

from bus.errors import ConflictError, NotFoundError
from bus.messages.base import Ack
from bus.messages.namespace import OpenNamespace
from bus.messages.pipeline import (
    ClearPipelines,
    Element,
    GetPipelines,
    PipelineInfo,
    PipelineList,
    PipelineState,
    Restart,
    StageInfo,
    StartPipeline,
)
from tests.unit.cli.stand_ins import EngineBench

RUNNING = PipelineInfo(
    name="a grep x b",
    state=PipelineState.RUNNING,
    stages=(StageInfo(text="a"), StageInfo(text="grep x", program=True, pid=7), StageInfo(text="b")),
)
FAILED = PipelineInfo(
    name="seq 3 false",
    state=PipelineState.FAILED,
    stages=(
        StageInfo(text="seq 3", program=True),
        StageInfo(text="false", program=True, pid=9, exit_status=1, stderr="one\noh\x1b\n"),
    ),
    error="false: exit status 1: oh\x1b",
)


def bench() -> EngineBench:
    return EngineBench(
        {StartPipeline: Ack(), ClearPipelines: Ack(), GetPipelines: PipelineList(pipelines=(RUNNING, FAILED))}
    )


def element(text: str, *words: str) -> Element:
    return Element(text=text, words=words or (text,))


@pytest.mark.parametrize(
    ("line", "elements"),
    [
        ("plumb a b", (element("a"), element("b"))),
        (
            'plumb a "sed -u s/foo/moo/" b',
            (element("a"), element("sed -u s/foo/moo/", "sed", "-u", "s/foo/moo/"), element("b")),
        ),
        ("plumb a 'sed \"s/a b/c/\"' b", (element("a"), element('sed "s/a b/c/"', "sed", "s/a b/c/"), element("b"))),
        ("plumb exp//a pipe:grep", (element("exp//a"), element("pipe:grep"))),
        ('plumb "pipe:it\'s" exec:cat', (element("pipe:it's"), element("exec:cat"))),
        ("plumb pipe:restart=always b", (element("pipe:restart=always"), element("b"))),
    ],
)
async def test_each_word_is_an_element(line: str, elements: tuple[Element, ...]) -> None:
    cli = bench()
    cli.session.environment = {"A": "b"}
    cli.session.namespace = "exp"
    assert await cli.text(line) == ""
    opened, asked = cli.bus.asked
    assert (opened.request, opened.namespace) == (OpenNamespace(), "exp")
    assert (asked.to, asked.namespace) == ("plumber@n1", "exp")
    assert asked.request == StartPipeline(elements=elements, env={"A": "b"})


@pytest.mark.parametrize("restart", list(Restart))
async def test_what_a_restart_means_for_it(restart: Restart) -> None:
    cli = bench()
    await cli.text(f"plumb restart={restart.value} a b")
    assert cli.bus.asked[0].request == StartPipeline(elements=(element("a"), element("b")), restart=restart)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('plumb a ""', "an element of a pipeline cannot be empty"),
        ('plumb " " b', "an element of a pipeline cannot be empty"),
        ('plumb "it\'s" b', "cannot read the element `it's`: missing terminal ' (a pipe may be called so: pipe:NAME)"),
        ('plumb a "grep #x"', "cannot read the element `grep #x`: put the word with the `#` in quotes"),
        (
            "plumb restart=sometimes a b",
            "restart= is followed by one of auto, always, never; a pipe is pipe:restart=sometimes",
        ),
        ("plumb restart=never a", "a pipeline has at least two elements: plumb SOURCE DESTINATION"),
    ],
)
async def test_what_makes_no_sense(line: str, error: str) -> None:
    cli = bench()
    assert await cli.error(line) == error
    assert cli.bus.asked == []


async def test_refusals_are_the_plumber_s() -> None:
    cli = bench()
    cli.bus.reactions[StartPipeline] = ConflictError("pipeline already exists: [a b]")
    assert await cli.error("plumb a b") == "pipeline already exists: [a b]"
    cli.bus.reactions[ClearPipelines] = NotFoundError("no such pipeline: [a b]")
    assert await cli.error("clear plumb a b") == "no such pipeline: [a b]"


async def test_the_list() -> None:
    response = await bench().one("plumb")
    assert response.header == ("pipeline", "state", "stages", "error")
    assert response.rows == [
        ("a grep x b", "running", "grep: running", ""),
        ("seq 3 false", "failed", "seq: exit status unknown, false: exit status 1", "false: exit status 1: oh\\x1b"),
    ]
    assert response.data[1]["stages"][1]["stderr"] == "one\noh\x1b\n"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("clear plumb", ""),
        ("clear plumb a 'grep x' b", "a grep x b"),
        ("clear plumb 'a grep x b'", "a grep x b"),
    ],
)
async def test_clear(line: str, name: str) -> None:
    cli = bench()
    assert await cli.text(line) == ""
    assert [asked.request for asked in cli.bus.asked] == [ClearPipelines(name=name)]


async def test_names_of_pipelines_are_completed() -> None:
    cli = bench()
    assert await cli.engine.suggest("clear plumb s", cli.session) == ['clear plumb "seq 3 false" ']
