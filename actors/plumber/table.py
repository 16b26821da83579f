"""What the plumber must not forget: properties of pipes, and who reads them. Messages are not kept; see `flow`."""

from __future__ import annotations

import re

import msgspec

from actors.plumber.pipeline_table import Pipelines
from bus.messages.pipe import Overflow, PipeMode
from bus.topics import MAX_TOPIC, pipe_topic
from bus.vm_names import is_valid

MAX_NAME = 200
"""Characters of a pipe's name."""
MAX_PIPES = 20_000
MAX_VIA = 65_536
"""Characters of a via with its arguments."""
MAX_CLIENT = 64
"""Characters of the name that a reader or a writer gives itself."""
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


def name_error(name: str, namespace: str = "") -> str:
    """Why a pipe cannot be called so, in one sentence; empty if it can."""
    if namespace and not is_valid(namespace):
        return f"a namespace cannot be called {namespace[:MAX_CLIENT]!r}"
    if not name:
        return "the name of a pipe cannot be empty"
    if len(name) > MAX_NAME:
        return f"the name of a pipe has at most {MAX_NAME} characters, not {len(name)}"
    if "/" in name:
        return f"the name of a pipe cannot contain `/`: `{name}` (another namespace's is NAMESPACE//PIPE)"
    if not name.isprintable():
        return f"the name of a pipe cannot contain control characters: {name!r}"
    if len(pipe_topic(namespace, name, "x" * MAX_CLIENT)) > MAX_TOPIC:
        return (
            f"the name of a pipe is too long for a topic, where a letter beyond ASCII takes six bytes or more: `{name}`"
        )
    return ""


def client_error(name: str) -> str:
    """Why a reader or a writer cannot call itself so, in one sentence; empty if it can."""
    if _CLIENT.fullmatch(name):
        return ""
    allowed = f"1 to {MAX_CLIENT} letters, digits, `_`, `.` and `-`"
    return f"the name of a reader or writer has {allowed}, not {name[:MAX_CLIENT]!r}"
