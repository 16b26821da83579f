"""Command lines over the bus: what a user types, run by the command server, answered with rows instead of text."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bus.messages.base import Message, Request


class LineResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one host answered to a command."""

    host: str
    text: str = ""
    """What there is to say, if it is no table."""
    header: tuple[str, ...] | None = None
    """Names of the columns; none if it is no table."""
    rows: tuple[tuple[str, ...], ...] = ()
    """A cell for each column."""
    error: str = ""
    """Why it failed on this host, in one sentence; empty if it did not."""
    data: Any = None
    """Any JSON value, for programs; what it is depends on the command."""


class LineStyle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How answers are to be shown to people."""

    form: Literal["table", "csv", "json"] = "table"
    annotate: bool = True
    """With the host of each."""
    headers: bool = True
    sort: bool = True
    compress: bool = True
    """Equal texts of several hosts once."""


class LineGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answers of all hosts to one command."""

    responses: tuple[LineResponse, ...] = ()
    style: LineStyle | None = None
    """What the line said about that, as `.csv true vm info` does; none if it said nothing."""


class LineOutput(Message, frozen=True, kw_only=True, omit_defaults=True, tag="cli.output"):
    """What a command line answered: most often one group, of a line that runs several commands one each."""

    groups: tuple[LineGroup, ...] = ()
    truncated: bool = False
    """There was more than 32 MiB: the rest was left out, the commands were carried out."""


class RunLine(Request[LineOutput], frozen=True, kw_only=True, omit_defaults=True, tag="cli.run"):
    """To `cli`: run a command line in the envelope's namespace, in a session of its own.

    A failed command is an answer with `error`, not a failure. The line is carried out to its end even if its asker
    stops waiting; asked again with the same id it gives the answer of the first time.
    """

    line: str
    """At most 1 MiB."""
    confined: tuple[str, ...] | None = None
    """Run only what acts within these namespaces and touches nothing else of the host; none: no such limit.

    Of a key that is limited to namespaces, the gateway writes it, whatever the client wrote.
    """
