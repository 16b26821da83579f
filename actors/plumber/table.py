"""What the plumber must not forget: properties of pipes, and who reads them. Messages are not kept; see `flow`."""

from __future__ import annotations

import re

import msgspec

from actors.plumber.pipeline_table import Pipelines
from bus.language.pipe_names import MAX_CLIENT
from bus.messages.pipe import Overflow, PipeMode

MAX_PIPES = 20_000
MAX_OF_NAMESPACE = MAX_PIPES // 2
"""Pipes of one namespace, whose guests and clients would else take those of all others."""
MAX_VIA = 65_536
"""Characters of a via with its arguments."""
_CLIENT = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_CLIENT}}}")


class PipeSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Properties of one pipe."""

    mode: PipeMode = PipeMode.ALL
    overflow: Overflow = Overflow.BLOCK
    log: bool = False
    via: tuple[str, ...] = ()


class PlumberTable(msgspec.Struct):
    """Properties by namespace and name; a pipe that has none but the default ones is not in it."""

    pipes: dict[str, dict[str, PipeSettings]] = {}
    pipelines: Pipelines = msgspec.field(default_factory=Pipelines)
    readers: dict[str, dict[str, dict[str, bool]]] = {}
    """By namespace, pipe and name those that are attached; true where the pipe has been deleted."""

    def settings(self, namespace: str, pipe: str) -> PipeSettings:
        """Of any pipe."""
        return self.pipes.get(namespace, {}).get(pipe, DEFAULT)


DEFAULT = PipeSettings()


def client_error(name: str) -> str:
    """Why a reader or a writer cannot call itself so, in one sentence; empty if it can."""
    if _CLIENT.fullmatch(name):
        return ""
    allowed = f"1 to {MAX_CLIENT} letters, digits, `_`, `.` and `-`"
    return f"the name of a reader or writer has {allowed}, not {name[:MAX_CLIENT]!r}"
