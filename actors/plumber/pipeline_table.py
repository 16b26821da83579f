"""What the plumber must not forget of pipelines, and the inputs and effects of their steps."""

from __future__ import annotations

import msgspec

from bus.actor.step import Effect, Input
from bus.messages.pipeline import Element, PipelineState, Restart, StageInfo


class Process(msgspec.Struct, frozen=True):
    """A program that was started, so that nothing else is ever taken for it."""

    pid: int
    ticks: int
    """When it started, in clock ticks since boot."""


class PipelineRecord(msgspec.Struct, kw_only=True):
    """One pipeline, from the request until it is forgotten."""

    number: int
    namespace: str
    name: str
    elements: tuple[Element, ...]
    env: dict[str, str] = {}
    restart: Restart
    state: PipelineState = PipelineState.STARTING
    mark: str
    """In the environment of all its processes, after the tag of the base directory: see `process_tree`."""
    request: str = ""
    """Who is to be told that it runs; empty since."""
    clearing: bool = False
    """Somebody is ending it: its name is free."""
    processes: tuple[Process, ...] = ()
    boot_id: str = ""
    """Of the boot that they are of."""
    stages: tuple[StageInfo, ...] = ()
    error: str = ""
    started_s: float = 0.0
    ended_s: float = 0.0

    @property
    def live(self) -> bool:
        """Whether it has, or may have, programs."""
        return self.state in (PipelineState.STARTING, PipelineState.RUNNING)


class Pipelines(msgspec.Struct, kw_only=True):
    """All of them."""

    next_number: int = 1
    records: dict[int, PipelineRecord] = {}
    """Oldest first."""
    clears: dict[str, tuple[int, ...]] = {}
    """Requests to end pipelines: id, and which."""


# ---------------------------------------------------------------- inputs


class PipelineStarted(Input, frozen=True, kw_only=True, tag="plumber.pipeline_started"):
    """All its programs run."""

    number: int
    stages: tuple[StageInfo, ...]
    processes: tuple[Process, ...]
    boot_id: str
    begins_with_program: bool


class PipelineRefused(Input, frozen=True, kw_only=True, tag="plumber.pipeline_refused"):
    """It could not be started, and nothing of it runs."""

    number: int
    code: str
    message: str


class PipelineEnded(Input, frozen=True, kw_only=True, omit_defaults=True, tag="plumber.pipeline_ended"):
    """Nothing of it runs any more."""

    number: int
    stages: tuple[StageInfo, ...] = ()
    error: str = ""


class PipelinesCleared(Input, frozen=True, kw_only=True, tag="plumber.pipelines_cleared"):
    """All that could be done to end those of a request has been done."""

    msg_id: str


# ---------------------------------------------------------------- effects


class Spawn(Effect, frozen=True, kw_only=True):
    """Start a pipeline; comes back as `PipelineStarted` or `PipelineRefused`, and later `PipelineEnded`."""

    number: int


class Stop(Effect, frozen=True, kw_only=True):
    """End pipelines; comes back as `PipelineEnded` for each, and then `PipelinesCleared`."""

    msg_id: str
    numbers: tuple[int, ...]


class EndLeft(Effect, frozen=True, kw_only=True):
    """End what an earlier process of this actor has left running of these; nobody is told."""

    records: tuple[PipelineRecord, ...]
