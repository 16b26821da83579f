"""What a command line answered, for users of the client library."""

from __future__ import annotations

from dataclasses import dataclass

from bus.errors import CommandFailed
from bus.messages.cli import LineGroup, LineOutput, LineResponse

HOST = "host"
Row = dict[str, str]
"""Name of a column to the cell, `host` among them."""


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


def output_of(reply: LineOutput) -> Output:
    """The reply to `RunLine` as users get it."""
    return Output(reply.groups, reply.truncated)
