"""What the plumber must not forget: the properties of pipes. Messages are not kept; see `actors.plumber.flow`."""

from __future__ import annotations

import msgspec

from bus.messages.pipe import Overflow, PipeMode

MAX_NAME = 200
"""Characters of a pipe's name."""
MAX_PIPES = 20_000
MAX_TOPIC_WORD = 600
"""Bytes of a name in a topic, where what is not a plain letter takes several."""


class PipeSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Properties of one pipe."""

    mode: PipeMode = PipeMode.ALL
    overflow: Overflow = Overflow.BLOCK
    log: bool = False
    via: tuple[str, ...] = ()


class PlumberTable(msgspec.Struct):
    """Properties by namespace and name; a pipe that has none but the default ones is not in it."""

    pipes: dict[str, dict[str, PipeSettings]] = {}

    def settings(self, namespace: str, pipe: str) -> PipeSettings:
        """Of any pipe."""
        return self.pipes.get(namespace, {}).get(pipe, DEFAULT)


DEFAULT = PipeSettings()


def name_error(name: str) -> str:
    """Why a pipe cannot be called so, in one sentence; empty if it can."""
    if not name:
        return "the name of a pipe cannot be empty"
    if len(name) > MAX_NAME:
        return f"the name of a pipe has at most {MAX_NAME} characters, not {len(name)}"
    if "/" in name:
        return f"the name of a pipe cannot contain `/`: `{name}` (another namespace's is NAMESPACE//PIPE)"
    if not name.isprintable():
        return f"the name of a pipe cannot contain control characters: {name!r}"
    return ""
