"""`clear all`: every part back to its beginning."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cli.answers.response import Group
from cli.commands.declare import Call, Command, Scope
from cli.session.session import Session

LINES = ("dnsmasq kill all", "clear namespace all", "clear vlans all", "clear plumb", "clear pipe", "clear history")
"""What is run, in this order. A new part adds its line."""


async def _clear_all(call: Call) -> AsyncIterator[Group]:
    """An error of one line is its group; the next line runs all the same."""
    for line in LINES:
        match = call.engine.compile(line, Session())  # not with this session's aliases
        if match is not None:
            async for group in call.engine.run(match, call.session):
                yield group


COMMANDS = (
    Command(
        patterns=("clear all",),
        help_short="destroy all namespaces and forget everything else",
        help_long=f"""\
Runs these commands one after the other, whether or not they succeed:

{"".join(f"	{line}{chr(10)}" for line in LINES)}
Files, and what programs run in the background have written, stay.""",
        scope=Scope.SPECIAL,
        run=_clear_all,
    ),
)
