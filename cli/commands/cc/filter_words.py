"""The words of `cc filter` and the rows that show it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bus.messages.cc import GuestFilter
from cli.answers.response import Row
from cli.commands.declare import CommandError
from cli.commands.vm.rows import COLUMNS

FIELDS = ("uuid", "hostname", "arch", "os", "ip", "mac")
"""What the agent tells; anything else is a column of `vm info` or a tag."""
HEADER = (*FIELDS, "tags", "columns")
"""minimega's columns, then what it does not have."""


def parse(words: Sequence[str]) -> GuestFilter:
    """The filter that these words mean, the last of a key counts; raises CommandError."""
    fields: dict[str, str] = {}
    columns: dict[str, str] = {}
    tags: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        name = key.lower()
        if not equals or not key:
            raise CommandError(f"malformed id=value pair: {word[:200]}")
        if name in FIELDS:
            fields[name] = value.lower() if name in ("uuid", "mac") else value
        elif name == "tag":
            tag, _, wanted = _split_tag(value)
            if not tag:
                raise CommandError(f"malformed id=value pair: {word[:200]}")
            tags[tag] = wanted
        elif name in COLUMNS:
            columns[name] = value
        else:
            tags[key] = value
    return GuestFilter(**fields, columns=tuple(columns.items()), tags=tuple(tags.items()))


def _split_tag(text: str) -> tuple[str, str, str]:
    """`k:v` or `k=v`, at whichever comes first."""
    at = min((place for place in (text.find(":"), text.find("=")) if place >= 0), default=len(text))
    return text[:at], text[at : at + 1], text[at + 1 :]


def _object(pairs: Iterable[tuple[str, str]]) -> str:
    return msgspec.json.encode(dict(pairs), order="sorted").decode()


def row(wanted: GuestFilter) -> Row:
    """The row of `cc filter`."""
    fields: dict[str, Any] = {name: getattr(wanted, name) for name in FIELDS}
    return (*(fields[name] for name in FIELDS), _object(wanted.tags), _object(wanted.columns))


def text(wanted: GuestFilter | None) -> str:
    """One line, as in `cc commands`; empty for every guest."""
    if wanted is None:
        return ""
    pairs = [(name, getattr(wanted, name)) for name in FIELDS if getattr(wanted, name)]
    pairs += [*sorted(wanted.columns), *sorted(wanted.tags)]
    return " && ".join(f"{key}={value}" for key, value in pairs)
