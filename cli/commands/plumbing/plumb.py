"""`plumb`: pipelines of pipes and programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from bus.exit_status import describe_exit
from bus.messages.pipeline import (
    ClearPipelines,
    Element,
    GetPipelines,
    PipelineInfo,
    PipelineList,
    Restart,
    StageInfo,
    StartPipeline,
)
from cli.answers.printable import escaped
from cli.answers.response import Group, Response
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, CommandError, Scope
from cli.grammar.errors import LexError
from cli.grammar.lexer import lex

COLUMNS = ("pipeline", "state", "stages", "error")
"""minimega's only column, then what it does not tell."""
CLEAR_S = 60.0
"""Timeout of ending pipelines, whose programs get some seconds to end by themselves."""
PIPE = "pipe:"
RESTART = "restart="
RESTARTS = tuple(restart.value for restart in Restart)


def element(word: str) -> Element:
    """One element of a pipeline as it was typed; raises CommandError."""
    if not word.strip():
        raise CommandError("an element of a pipeline cannot be empty")
    text = str(word)
    if text.startswith(PIPE):
        return Element(text=text, words=(text,))
    try:
        line = lex(text)
    except LexError as error:
        raise CommandError(
            f"cannot read the element `{escaped(text)}`: {error} (a pipe may be called so: {PIPE}NAME)"
        ) from None
    if line.comment:
        raise CommandError(f"cannot read the element `{escaped(text)}`: put the word with the `#` in quotes")
    return Element(text=text, words=tuple(map(str, line.words)))


def elements(words: Sequence[str]) -> tuple[tuple[Element, ...], Restart]:
    """The elements of a pipeline, and what becomes of it when the plumber was restarted; raises CommandError."""
    restart = Restart.AUTO
    if words and words[0].startswith(RESTART):
        value = words[0].removeprefix(RESTART)
        if value not in RESTARTS:
            raise CommandError(f"{RESTART} is followed by one of {', '.join(RESTARTS)}; a pipe is {PIPE}{words[0]}")
        restart, words = Restart(value), words[1:]
    if len(words) < 2:
        raise CommandError("a pipeline has at least two elements: plumb SOURCE DESTINATION")
    return tuple(map(element, words)), restart


async def _plumb(call: Call) -> AsyncIterator[Group]:
    found, restart = elements((call.args.text("src"), *call.args.words("dst")))
    request = StartPipeline(elements=found, env=call.session.environment, restart=restart)
    to = f"plumber@{call.engine.host}"
    await call.engine.ask(to, request, timeout_s=QUICK_S, namespace=call.session.namespace)
    yield Group([Response(call.engine.host)])


def stages_text(stages: Sequence[StageInfo]) -> str:
    """How each program is."""
    return ", ".join(f"{_program(stage)}: {_how(stage)}" for stage in stages if stage.program)


def _program(stage: StageInfo) -> str:
    return escaped(stage.text.split(maxsplit=1)[0])


def _how(stage: StageInfo) -> str:
    if stage.exit_status is not None:
        return describe_exit(stage.exit_status)
    return "running" if stage.pid else "exit status unknown"


def _row(info: PipelineInfo) -> tuple[str, ...]:
    return (escaped(info.name), info.state.value, stages_text(info.stages), escaped(info.error))


def pipeline_table(reply: PipelineList, args: Args) -> Answer:
    """One row a pipeline; the end of what its programs complained of is in the data."""
    return Answer(header=COLUMNS, rows=list(map(_row, reply.pipelines)), data=msgspec.to_builtins(reply.pipelines))


def _clear(args: Args) -> ClearPipelines:
    return ClearPipelines(name=" ".join(args.words("pipeline")))


COMMANDS = (
    Command(
        patterns=("plumb",),
        help_short="list pipelines",
        help_long="""\
One row for each pipeline of the namespace that runs, and for the last that
failed. `stages` tells how its programs are, `error` why it failed: the first
program that ended with an exit status other than 0, and the last line it wrote
to standard error; the responses' data (`.json`) has more of it.

A pipeline is `broken` if the process that ran it was restarted and it was not.
Those that failed or are broken stay listed until `clear plumb`, or until they
are started again; of all there are, the last 50.""",
        scope=Scope.BROADCAST,
        to="plumber",
        request=lambda args: GetPipelines(),
        answer=pipeline_table,
    ),
    Command(
        patterns=("plumb <src> <dst>...",),
        help_short="connect pipes and programs",
        help_long="""\
What comes out of each element goes into the next. Each word is an element; one
with arguments is put in quotes:

	plumb events "grep -v debug" "sed s/foo/moo/" interesting

An element whose first word can be executed is a program, any other a pipe of
this namespace; NAMESPACE//NAME is one of another. `pipe:NAME` is always a pipe,
`exec:PROGRAM` always a program. Arguments are split as on a command line;
there is no shell. Programs have this client's variables (`.env`).

Any element may be first, in the middle or last. A pipe that is first is read
from now on; a program that is first has nothing to read, and what the last one
says is thrown away. A pipe in the middle is written by what is before it and
read by what comes after it, and others may write and read it too.

Programs that use the C library's standard output, and Python's, hand on each
line at once. Others may collect some KiB first: tell them not to, as in
`awk -W interactive`.

When something ends, what comes after it reads to the end and finishes; what
only worked for it is ended. So `clear pipe NAME` of the first pipe ends a
pipeline and lets `sort` or `wc` say what they have to say, and `clear plumb`
ends it at once.

If the process that runs pipelines is restarted, those that begin with a pipe
are started again, and others are listed as broken. The word restart=always or
restart=never before the first element decides otherwise.""",
        run=_plumb,
        free_text=True,
        completers={"src": "pipe", "dst": "pipe"},
    ),
    Command(
        patterns=("clear plumb [pipeline]...",),
        help_short="end and forget pipelines",
        help_long="""\
One, named by its elements as `plumb` lists them, or all of the namespace. Their
programs get SIGTERM, and SIGKILL if they have not ended 2 seconds later.
Returns when they have ended.""",
        scope=Scope.BROADCAST,
        to="plumber",
        request=_clear,
        timeout_s=CLEAR_S,
        completers={"pipeline": "pipeline"},
    ),
)
