"""Commands about the program itself and the client's session."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cli.answers.response import Group, Response, failure
from cli.commands.declare import Call, Command, Scope
from cli.commands.help import help_text, no_help
from cli.version import version_text


async def _version(call: Call) -> AsyncIterator[Group]:
    yield Group([Response(call.engine.host, version_text())])


async def _help(call: Call) -> AsyncIterator[Group]:
    words = call.args.words("command")
    text = help_text(call.engine.commands, words)
    host = call.engine.host
    yield Group([Response(host, text)]) if text else failure(host, no_help(call.engine.commands, words))


async def _echo(call: Call) -> AsyncIterator[Group]:
    yield Group([Response(call.engine.host, " ".join(call.args.words("args")))])


async def _history(call: Call) -> AsyncIterator[Group]:
    yield Group([Response(call.engine.host, "\n".join(call.session.history.lines))])


async def _clear_history(call: Call) -> AsyncIterator[Group]:
    call.session.history.clear()
    yield Group([Response(call.engine.host)])


COMMANDS = (
    Command(
        patterns=("version",),
        help_short="display the version of minibus",
        run=_version,
        scope=Scope.SPECIAL,
    ),
    Command(
        patterns=("help [command]...",),
        help_short="show this help message",
        help_long="Shows help on the commands that begin with the given words, or lists all commands.",
        run=_help,
        completers={"command": "command"},
    ),
    Command(
        patterns=("echo [args]...",),
        help_short="display a line of text",
        help_long="Prints its words, joined by one blank.",
        run=_echo,
        free_text=True,
    ),
    Command(
        patterns=("history",),
        help_short="show the commands of this connection",
        help_long="Lists the valid commands that were typed on this connection, the newest last.",
        run=_history,
    ),
    Command(
        patterns=("clear history",),
        help_short="forget the commands of this connection",
        run=_clear_history,
        recorded=False,
    ),
)
