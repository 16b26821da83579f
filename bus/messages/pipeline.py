"""Pipelines: pipes and programs in a row, each taking what the one before it gives."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


class Element(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One element as it was written: a program if its first word can be executed, otherwise a pipe.

    `pipe:NAME` is always a pipe, `exec:PROGRAM...` always a program. `NAMESPACE//NAME` is a pipe of another namespace.
    """

    text: str
    words: tuple[str, ...] = ()
    """The text as an argument vector; without it, it is split at blanks."""


class Restart(StrEnum):
    """What becomes of a pipeline when the plumber was restarted."""

    AUTO = "auto"
    """`always` if it begins with a pipe, `never` if it begins with a program, which would say everything again."""
    ALWAYS = "always"
    """It is started again."""
    NEVER = "never"
    """It is listed as broken."""


class PipelineState(StrEnum):
    """How a pipeline is."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    """It came to its end, and nothing failed; not listed any more."""
    FAILED = "failed"
    """It has ended because of something, or with something, that `error` tells."""
    BROKEN = "broken"
    """The plumber was restarted, and the pipeline was not."""
    CLEARED = "cleared"
    """Somebody has ended it; not listed any more."""


class StageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One element as it is now."""

    text: str
    program: bool = False
    pid: int = 0
    """0 if nobody saw how the program ended."""
    exit_status: int | None = None
    """None while the program runs; negative: the number of the signal that ended it."""
    stderr: str = ""
    """The last 8 KiB that it wrote there."""


class PipelineInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pipeline."""

    name: str
    """Its elements, joined by blanks."""
    state: PipelineState
    restart: Restart = Restart.AUTO
    stages: tuple[StageInfo, ...] = ()
    error: str = ""
    """Why it failed or is broken, in one sentence."""
    started_s: float = 0.0
    """UTC."""
    ended_s: float = 0.0


class PipelineList(Message, frozen=True, kw_only=True, tag="pipeline.list"):
    """Pipelines by name."""

    pipelines: tuple[PipelineInfo, ...]


class StartPipeline(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="pipeline.start"):
    """Start a pipeline in the envelope's namespace; answered when all its programs run.

    `conflict` if there is such a pipeline, `not_found` if a program is not there; then nothing was started.
    """

    elements: tuple[Element, ...]
    """At least two."""
    env: dict[str, str] = {}
    """Laid over the plumber's environment; an empty value removes a variable."""
    restart: Restart = Restart.AUTO


class GetPipelines(Query[PipelineList], frozen=True, kw_only=True, tag="pipeline.list.get"):
    """The pipelines of the envelope's namespace: those that run, and the last that failed."""


class ClearPipelines(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="pipeline.clear"):
    """End one pipeline of the envelope's namespace, or all, and forget them; answered when their programs have ended.

    SIGTERM, and SIGKILL after 2 seconds. `not_found` if there is no such pipeline.
    """

    name: str = ""
    """As in PipelineInfo; empty for all."""


class PipelineChanged(Event, frozen=True, kw_only=True, tag="pipeline.changed"):
    """A pipeline has been started or has ended, on `pipeline/<namespace>/<state>/`."""

    pipeline: PipelineInfo
