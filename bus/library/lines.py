"""What a command line answered, for users of the client library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from bus.errors import CommandFailed, InvalidError
from bus.messages.cli import LineGroup, LineOutput, LineResponse

HOST = "host"
Row = dict[str, str]
"""Name of a column to the cell, `host` among them."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Output:
    """The answers to one command line, one for each host; of a line that runs several commands a group each."""

    groups: tuple[LineGroup, ...] = ()
    truncated: bool = False
    """There was more than an answer can hold; the commands were carried out."""

    @property
    def responses(self) -> tuple[LineResponse, ...]:
        """Of all groups, in their order."""
        return tuple(response for group in self.groups for response in group.responses)

    @property
    def errors(self) -> tuple[str, ...]:
        """What failed, as `HOST: SENTENCE`; empty if nothing did."""
        return tuple(f"{response.host}: {response.error}" for response in self.responses if response.error)

    @property
    def text(self) -> str:
        """What is no table, a line or more for each response that has some."""
        return "\n".join(response.text for response in self.responses if response.text)

    def rows(self) -> list[Row]:
        """The rows of all tables; raises CommandFailed if the command failed anywhere or its answer is not whole."""
        if self.errors:
            raise CommandFailed("\n".join(self.errors))
        if self.truncated:
            raise CommandFailed(
                "the command was carried out, but its answer is too long: ask for fewer rows or columns"
            )
        return [
            {HOST: response.host, **dict(zip(response.header or (), row, strict=False))}
            for response in self.responses
            for row in response.rows
        ]


def typed(rows: Sequence[Row], of: type[R]) -> list[R]:
    """Rows as a dataclass, a msgspec.Struct or a TypedDict, whose fields are columns: `32` as the integer that it is.

    The column `serial-ports` is the field `serial_ports`; columns that it does not have are left out.
    Raises InvalidError if a field is no column or a cell not of its type.
    """
    try:
        return [msgspec.convert(_named(row), of, strict=False) for row in rows]
    except msgspec.ValidationError as error:
        columns = ", ".join(rows[0])
        raise InvalidError(f"a row is no {of.__name__}: {error}; the columns are {columns}") from None


def _named(row: Row) -> Row:
    return {name.replace("-", "_"): cell for name, cell in row.items()}


def output_of(reply: LineOutput) -> Output:
    """The reply to `RunLine` as users get it."""
    return Output(reply.groups, reply.truncated)
