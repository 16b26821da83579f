"""Choosing rows and columns of responses: what `.filter` and `.columns` do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cli.answers.response import Response, Row

HOST = "host"
"""Column that every answer has, since it comes from a host."""
MAX_COLUMNS = 100
"""Columns that may be chosen; the widest table has a few dozen."""
SHOWN_INPUT = 80
"""Characters of a wrong filter or column that an error repeats."""


class TableError(ValueError):
    """No such column, or no such filter; `str()` is one sentence."""


class Filter(NamedTuple):
    """A parsed filter, e.g. `state!=quit`."""

    column: str
    operator: str
    value: str


_OPERATORS = ("!~", "!=", "~", "=")


def parse_filter(text: str) -> Filter:
    """Split at the leftmost operator; raises TableError."""
    found = [(text.find(operator), -len(operator), operator) for operator in _OPERATORS if operator in text]
    if not found:
        expected = "expected COLUMN=VALUE, !=, ~ (contains) or !~"
        raise TableError(f"invalid filter, see help: {expected}, not `{text[:SHOWN_INPUT]}`")
    position, _, operator = min(found)
    if position == 0:
        raise TableError(f"invalid filter, see help: `{text[:SHOWN_INPUT]}` names no column")
    return Filter(text[:position], operator, text[position + len(operator) :])


def find_column(header: Sequence[str], name: str) -> int:
    """Index of a column by its name or an unambiguous beginning, in any case; raises TableError."""
    wanted = name.strip().lower()
    lowered = [column.lower() for column in header]
    if wanted in lowered:
        return lowered.index(wanted)
    found = [index for index, column in enumerate(lowered) if wanted and column.startswith(wanted)]
    if not found:
        raise TableError(f"no such column `{name[:SHOWN_INPUT]}`")
    if len(found) > 1:
        raise TableError(
            f"ambiguous column `{name[:SHOWN_INPUT]}`: it could be {', '.join(header[index] for index in found)}"
        )
    return found[0]


def filter_responses(responses: Sequence[Response], chosen: Filter) -> list[Response]:
    """Keep the rows that pass; a filter on `host` keeps or drops whole responses. Raises TableError."""
    chosen = chosen._replace(value=chosen.value.lower())  # once, as it may be as long as a command
    if chosen.column.lower() == HOST:
        return [response for response in responses if response.error or _passes(response.host, chosen)]
    for response in responses:
        if response.header is not None and not response.error:
            index = find_column(response.header, chosen.column)
            response.rows = [row for row in response.rows or () if _passes(row[index], chosen)]
    return list(responses)


def _passes(cell: str, chosen: Filter) -> bool:
    """Whether a cell fits a filter whose value is in lower case."""
    cell, value = cell.lower(), chosen.value
    collection = cell[:1] + cell[-1:] in ("[]", "{}") and len(cell) > 1
    contains = collection or "~" in chosen.operator
    positive = (value in cell) if contains else (value == cell)
    return positive != chosen.operator.startswith("!")


def choose_columns(responses: Sequence[Response], names: str) -> list[Response]:
    """Only these columns, in this order. `host` is no column, but its place is remembered. Raises TableError."""
    chosen = names.split(",", MAX_COLUMNS)
    if len(chosen) > MAX_COLUMNS:
        raise TableError(f"more than {MAX_COLUMNS} columns")
    host_at = tuple(index for index, name in enumerate(chosen) if name.strip().lower() == HOST)
    wanted = [name for index, name in enumerate(chosen) if index not in host_at]
    for response in responses:
        if response.header is not None and not response.error:
            indices = [find_column(response.header, name) for name in wanted]
            pick = _picker(indices)
            response.header = pick(response.header)
            response.rows = [pick(row) for row in response.rows or ()]
            response.host_at = host_at
    return list(responses)


def _picker(indices: Sequence[int]) -> Callable[[Row], Row]:
    return lambda row: tuple(row[index] for index in indices)
