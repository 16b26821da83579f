"""Dot commands: how answers look. Alone they change the connection's setting, before a command only that command's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from cli.answers.response import Form, Group, Output, Response, failure
from cli.answers.table import TableError, choose_columns, filter_responses, parse_filter
from cli.commands.declare import Args, Call, Command, Run, Scope

Setting = tuple[Callable[[Output], bool], Callable[[Output, bool], Output]]
"""Reads and changes one setting."""


def _form(form: Form) -> Setting:
    def change(output: Output, on: bool) -> Output:
        if on:
            return replace(output, form=form)
        return replace(output, form="table") if output.form == form else output

    return (lambda output: output.form == form), change


SETTINGS: dict[str, tuple[Setting, str]] = {
    "annotate": (
        (lambda output: output.annotate, lambda output, on: replace(output, annotate=on)),
        "say which host an answer comes from",
    ),
    "headers": (
        (lambda output: output.headers, lambda output, on: replace(output, headers=on)),
        "print the header line of tables",
    ),
    "sort": (
        (lambda output: output.sort, lambda output, on: replace(output, sort=on)),
        "sort the rows of tables",
    ),
    "compress": (
        (lambda output: output.compress, lambda output, on: replace(output, compress=on)),
        "merge equal answers of several hosts",
    ),
    "csv": (_form("csv"), "print tables as CSV"),
    "json": (_form("json"), "print responses as JSON"),
}


def _is_on(args: Args) -> bool:
    return args.has("true")


def _run(setting: Setting) -> Run:
    read, change = setting

    async def run(call: Call) -> AsyncIterator[Group]:
        session, host = call.session, call.engine.host
        if call.match.nested is not None:
            async for group in call.engine.run(call.match.nested, session):
                group.output = change(group.output or session.output, _is_on(call.args))
                yield group
        elif call.args.chosen("true", "false"):
            session.output = change(session.output, _is_on(call.args))
            yield Group([Response(host)])
        else:
            yield Group([Response(host, "true" if read(session.output) else "false")])

    return run


def _setting_command(name: str) -> Command:
    setting, what = SETTINGS[name]
    unusual = "false" if setting[0](Output()) else "true"
    return Command(
        patterns=(f".{name} [true,false]", f".{name} <true,false> (command)"),
        help_short=f"{what}: show, change, or choose for one command",
        help_long=f"""\
Whether to {what}.

Without a value, shows the setting, which belongs to this connection. Before a
command it counts for that command alone:

	.{name} {unusual} vm info""",
        scope=Scope.SPECIAL,
        run=_run(setting),
    )


def _rewriting(rewrite: Callable[[Sequence[Response]], list[Response]], call: Call) -> AsyncIterator[Group]:
    async def run() -> AsyncIterator[Group]:
        async for group in call.engine.run(call.nested, call.session):
            try:
                yield Group(rewrite(group.responses), group.output, group.more)
            except TableError as error:
                yield Group([Response(call.engine.host, error=str(error))], group.output)

    return run()


def _columns(call: Call) -> AsyncIterator[Group]:
    return _rewriting(lambda responses: choose_columns(responses, call.args.text("columns")), call)


def _filter(call: Call) -> AsyncIterator[Group]:
    try:
        chosen = parse_filter(call.args.text("filter"))
    except TableError as error:
        return _fail(call.engine.host, str(error))
    return _rewriting(lambda responses: filter_responses(responses, chosen), call)


async def _fail(host: str, sentence: str) -> AsyncIterator[Group]:
    yield failure(host, sentence)


async def _record(call: Call) -> AsyncIterator[Group]:
    """Before a command the setting is changed for as long as that runs: the lines of a script are commands too."""
    session, host = call.session, call.engine.host
    before, on = session.recording, _is_on(call.args)
    if call.match.nested is not None:
        session.recording = on
        try:
            async for group in call.engine.run(call.match.nested, session):
                yield group
        finally:
            if session.recording is on:
                session.recording = before
    elif call.args.chosen("true", "false"):
        session.recording = on
        yield Group([Response(host)])
    else:
        yield Group([Response(host, "true" if before else "false")])


RECORD = Command(
    patterns=(".record [true,false]", ".record <true,false> (command)"),
    help_short="whether commands enter the history: show, change, or choose for one command",
    help_long="""\
Whether commands enter the history of this connection.

Without a value, shows the setting. Before a command it counts for that command
alone, or for the lines of the script that it reads:

	.record false vm info""",
    scope=Scope.SPECIAL,
    run=_record,
)

COMMANDS = (
    *map(_setting_command, SETTINGS),
    RECORD,
    Command(
        patterns=(".columns <columns as csv> (command)",),
        help_short="choose and order the columns of a table",
        help_long="""\
Names may be abbreviated where that is unambiguous:

	.columns name,state vm info

The host always comes first; with `.annotate false` it comes where `host` stands
among the columns. A filter that stands before .columns sees only these columns.""",
        scope=Scope.SPECIAL,
        run=_columns,
    ),
    Command(
        patterns=(".filter <filter> (command)",),
        help_short="choose the rows of a table",
        help_long="""\
A filter is COLUMN=VALUE, COLUMN!=VALUE, COLUMN~PART (contains) or COLUMN!~PART.
Case does not matter. For lists and maps, in [] or {}, = means contains. The
column `host` stands for the host of an answer. Filters can be stacked:

	.filter state=running .filter tags~web vm info""",
        scope=Scope.SPECIAL,
        run=_filter,
    ),
)
