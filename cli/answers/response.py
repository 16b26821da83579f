"""What a command answers: one response a host, gathered in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Row = tuple[str, ...]
Form = Literal["table", "csv", "json"]

NOT_FOUND = "vm not found: "
"""Begins the sentence about a VM that is not on a host."""


@dataclass(frozen=True, slots=True)
class Output:
    """How a client wants to see answers; part of its session, overridden for one command by a prefix."""

    annotate: bool = True
    headers: bool = True
    sort: bool = True
    compress: bool = True
    form: Form = "table"


@dataclass(slots=True)
class Response:
    """The answer of one host. With `rows` it is a table and `text` is ignored; `error` is empty on success."""

    host: str
    text: str = ""
    header: Row | None = None
    rows: Sequence[Row] | None = None
    error: str = ""
    data: Any = None
    """Any JSON value, for programs."""
    host_at: tuple[int, ...] = ()
    """Where `host` was asked for among the columns; in a table without annotation it is shown there."""

    def to_json(self) -> dict[str, Any]:
        """The object that clients of the command socket read; a table without rows is `[]`."""
        rows = self.rows if self.rows is not None else ([] if self.header is not None else None)
        return {
            "Host": self.host,
            "Response": self.text,
            "Header": self.header,
            "Tabular": rows,
            "Error": self.error,
            "Data": self.data,
        }


@dataclass(slots=True)
class Group:
    """The answers of all hosts to one command. `output` is None unless a prefix chose it: then the session's counts."""

    responses: list[Response] = field(default_factory=list)
    output: Output | None = None
    more: bool = False
    """Another group of the command is sure to follow, so this one can be shown at once."""


def failure(host: str, sentence: str) -> Group:
    """A group of one error."""
    return Group([Response(host, error=sentence)])


def without_misses(responses: list[Response]) -> list[Response]:
    """A `vm not found` counts only if every host says so, and then once; hosts that said nothing else are left out."""
    if len(responses) < 2:
        return responses
    misses = [{line for line in response.error.split("\n") if line.startswith(NOT_FOUND)} for response in responses]
    missing = sorted(set.intersection(*misses))
    kept: list[Response] = []
    for response, own in zip(responses, misses, strict=True):
        rest = [line for line in response.error.split("\n") if line and line not in own]
        if rest or not own:
            response.error = "\n".join(rest)
            kept.append(response)
    if missing:
        kept.insert(0, Response(responses[0].host, error="\n".join(missing)))
    return kept
