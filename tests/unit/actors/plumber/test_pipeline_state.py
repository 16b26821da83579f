"""Which pipelines there are, how requests about them are answered, and what a restart means for them."""

from __future__ import annotations

from typing import Any

import pytest

from actors.plumber import pipeline_state
from actors.plumber.pipeline_state import KEEP_FAILED, MAX_PIPELINES, MAX_PROGRAMS, RESTARTED, info_of
from actors.plumber.pipeline_table import (
    EndLeft,
    PipelineEnded,
    PipelineRefused,
    Pipelines,
    PipelinesCleared,
    PipelineStarted,
    Process,
    Spawn,
    Stop,
)
from bus.actor.step import Effect, Fail, Input, Publish, Recovered, Reply
from bus.messages.base import Ack
from bus.messages.pipeline import (
    ClearPipelines,
    Element,
    PipelineChanged,
    PipelineState,
    Restart,
    StageInfo,
    StartPipeline,
)
from tests.unit.actors.steps import events, only, received, replies, the, through_journal, through_snapshot


class Bench:
    """A table, and steps that go through journal and snapshot, as they do in the actor."""

    def __init__(self) -> None:
        self.table = Pipelines()
        self._count = 0

    def step(self, inp: Input) -> list[Effect]:
        effects = pipeline_state.step(self.table, through_journal(inp))
        assert effects is not None
        self.table = through_snapshot(self.table)
        return effects

    def ask(self, body: Any, namespace: str = "exp") -> list[Effect]:
        self._count += 1
        return self.step(received(body, f"m{self._count}", namespace=namespace))

    def start(self, *texts: str, namespace: str = "exp", **more: Any) -> list[Effect]:
        return self.ask(StartPipeline(elements=tuple(Element(text=text) for text in texts), **more), namespace)

    def run(self, *texts: str, program_first: bool = False, **more: Any) -> int:
        """Start one that runs; its number."""
        number = the(Spawn, self.start(*texts, **more)).number
        self.step(started(number, program_first=program_first))
        return number

    def listed(self, namespace: str = "exp") -> dict[str, str]:
        found = [record for record in self.table.records.values() if record.namespace == namespace]
        return {record.name: info_of(record).state.value for record in found}


def started(number: int, *, program_first: bool = False) -> PipelineStarted:
    return PipelineStarted(
        number=number,
        stages=(StageInfo(text="x", program=True, pid=77),),
        processes=(Process(77, 1234),),
        boot_id="boot",
        begins_with_program=program_first,
    )


def changed(effects: list[Effect]) -> PipelineChanged:
    event = the(Publish, effects).event
    assert isinstance(event, PipelineChanged)
    return event


def test_one_that_starts_runs_and_ends() -> None:
    bench = Bench()
    (spawn,) = bench.start("a", "grep x", "b", env={"A": "b"})
    assert spawn == Spawn(number=1)
    record = bench.table.records[1]
    assert (record.name, record.env, record.mark) == ("a grep x b", {"A": "b"}, "plumb1-7")
    effects = bench.step(started(1))
    assert replies(effects) == {"m1": Ack()}
    assert events(effects) == ["pipeline/exp/running/"]
    assert bench.listed() == {"a grep x b": "running"}
    effects = bench.step(PipelineEnded(number=1))
    assert events(effects) == ["pipeline/exp/ended/"]
    assert bench.listed() == {}
    assert bench.step(PipelineEnded(number=1)) == []


def test_one_that_fails_stays_until_it_is_cleared() -> None:
    bench = Bench()
    number = bench.run("a", "false", "b")
    stages = (StageInfo(text="false", program=True, pid=77, exit_status=1, stderr="oh"),)
    effects = bench.step(PipelineEnded(number=number, stages=stages, error="false: exit status 1: oh"))
    assert events(effects) == ["pipeline/exp/failed/"]
    info = changed(effects).pipeline
    assert (info.error, info.stages) == ("false: exit status 1: oh", stages)
    assert bench.listed() == {"a false b": "failed"}
    effects = bench.ask(ClearPipelines(name="a false b"))
    assert replies(effects) == {"m2": Ack()}
    assert events(effects) == ["pipeline/exp/cleared/"]
    assert bench.listed() == {}


def test_the_same_twice() -> None:
    bench = Bench()
    bench.run("a", "b")
    (fail,) = bench.start("exp//a", "b")
    assert fail == Fail(msg_id="m2", code="conflict", message="pipeline already exists: [a b]")
    assert only(Spawn, bench.start("a", "b", namespace="other"))
    bench.step(PipelineEnded(number=1, error="x"))
    bench.run("a", "b")  # takes the place of the one that failed
    assert bench.listed() == {"a b": "running"}


def test_one_that_cannot_be_started_leaves_nothing() -> None:
    bench = Bench()
    bench.start("a", "exec:none")
    effects = bench.step(PipelineRefused(number=1, code="not_found", message="no such program"))
    assert effects == [Fail(msg_id="m1", code="not_found", message="no such program")]
    assert bench.table.records == {}


def test_what_makes_no_sense_is_refused() -> None:
    bench = Bench()
    (fail,) = bench.start("a")
    assert fail == Fail(
        msg_id="m1", code="invalid", message="a pipeline has at least two elements: plumb SOURCE DESTINATION"
    )
    assert bench.table.records == {}


@pytest.mark.parametrize(("elements", "count"), [(2, MAX_PIPELINES), (4, MAX_PROGRAMS // 4)])
def test_there_is_a_limit(elements: int, count: int) -> None:
    table = Pipelines()
    rest = ["x"] * (elements - 1)
    for number in range(count):
        body = StartPipeline(elements=tuple(Element(text=text) for text in (str(number), *rest)))
        (effect,) = pipeline_state.step(table, received(body)) or []
        assert isinstance(effect, Spawn)
    (effect,) = (
        pipeline_state.step(table, received(StartPipeline(elements=(Element(text="a"), Element(text="b"))))) or []
    )
    assert isinstance(effect, Fail)
    assert effect.code == "unavailable"


def test_of_those_that_failed_the_last_are_kept() -> None:
    bench = Bench()
    for at in range(KEEP_FAILED + 3):
        number = bench.run("a", str(at))
        bench.step(PipelineEnded(number=number, error="x", time_s=100.0 + at))
    assert list(bench.listed()) == [f"a {at}" for at in range(3, KEEP_FAILED + 3)]


# ---------------------------------------------------------------- clearing


def test_clear_ends_and_forgets() -> None:
    bench = Bench()
    bench.run("a", "b")
    (stop,) = bench.ask(ClearPipelines(name="a b"))
    assert stop == Stop(msg_id="m2", numbers=(1,))
    assert only(Spawn, bench.start("a", "b"))  # its name is free at once
    assert events(bench.step(PipelineEnded(number=1, error="signal: terminated"))) == ["pipeline/exp/cleared/"]
    assert bench.step(PipelinesCleared(msg_id="m2")) == [Reply(msg_id="m2", body=Ack())]


def test_clear_all_is_of_one_namespace() -> None:
    bench = Bench()
    bench.run("a", "b")
    bench.run("c", "d")
    bench.run("a", "b", namespace="other")
    assert the(Stop, bench.ask(ClearPipelines())).numbers == (1, 2)
    for number in (1, 2):
        bench.step(PipelineEnded(number=number))
    bench.step(PipelinesCleared(msg_id="m4"))
    assert (bench.listed(), bench.listed("other")) == ({}, {"a b": "running"})


def test_clear_of_what_is_not_there() -> None:
    bench = Bench()
    assert bench.ask(ClearPipelines(name="a b")) == [
        Fail(msg_id="m1", code="not_found", message="no such pipeline: [a b]")
    ]
    assert bench.ask(ClearPipelines()) == [Reply(msg_id="m2", body=Ack())]


def test_one_that_nobody_sees_end_is_forgotten_all_the_same() -> None:
    bench = Bench()
    bench.run("a", "b")
    bench.ask(ClearPipelines())
    effects = bench.step(PipelinesCleared(msg_id="m2"))
    assert events(effects) == ["pipeline/exp/cleared/"]
    assert replies(effects) == {"m2": Ack()}
    assert bench.step(PipelineEnded(number=1)) == []


# ---------------------------------------------------------------- after a start


@pytest.mark.parametrize(
    ("restart", "program_first", "again"),
    [
        (Restart.AUTO, False, True),
        (Restart.AUTO, True, False),
        (Restart.ALWAYS, True, True),
        (Restart.NEVER, False, False),
    ],
)
def test_a_restart_of_the_plumber(restart: Restart, program_first: bool, again: bool) -> None:
    bench = Bench()
    bench.run("a", "b", restart=restart, program_first=program_first)
    left, *effects = bench.step(Recovered())
    assert isinstance(left, EndLeft)
    assert [record.processes for record in left.records] == [(Process(77, 1234),)]
    if again:
        assert effects == [Spawn(number=1)]
        assert events(bench.step(started(1, program_first=program_first))) == ["pipeline/exp/running/"]
        assert bench.listed() == {"a b": "running"}
    else:
        assert changed(effects).pipeline.error == RESTARTED
        assert changed(effects).pipeline.stages == (StageInfo(text="x", program=True),)
        assert bench.listed() == {"a b": "broken"}
        assert bench.step(Recovered()) == []


def test_one_that_cannot_be_started_again_is_broken() -> None:
    bench = Bench()
    bench.run("a", "b")
    bench.step(Recovered())
    effects = bench.step(PipelineRefused(number=1, code="not_found", message="no such program"))
    assert changed(effects).pipeline.error == "it could not be started again: no such program"
    assert changed(effects).pipeline.state is PipelineState.BROKEN


def test_one_that_was_being_started_is_started_and_its_asker_told() -> None:
    bench = Bench()
    bench.start("seq 3", "b")
    assert only(Spawn, bench.step(Recovered())) == [Spawn(number=1)]
    assert replies(bench.step(started(1, program_first=True))) == {"m1": Ack()}


def test_one_that_was_being_cleared_is_gone() -> None:
    bench = Bench()
    bench.run("a", "b")
    bench.ask(ClearPipelines())
    left, *effects = bench.step(Recovered())
    assert isinstance(left, EndLeft)
    assert replies(effects) == {"m2": Ack()}
    assert bench.table.records == {}
    assert bench.table.clears == {}


def test_without_pipelines_a_start_needs_nothing() -> None:
    assert Bench().step(Recovered()) == []
