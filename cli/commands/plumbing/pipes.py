"""`pipe`: named pipes, their properties, and the messages in them."""

from __future__ import annotations

from collections.abc import Sequence

from bus.language.pipe_names import resolve
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.pipe import DeletePipes, GetPipes, Overflow, PipeInfo, PipeList, PipeMode, SetPipe, WritePipe
from cli.answers.printable import escaped
from cli.answers.response import Row
from cli.commands.declare import Answer, Args, Command, CommandError, Scope
from cli.grammar.errors import LexError
from cli.grammar.lexer import lex
from cli.grammar.quoting import quote

HEADER = (
    *("name", "mode", "readers", "writers", "via", "last message"),
    *("count", "dropped", "cut_off", "waiting", "log", "overflow"),
)
"""minimega's columns, then what it does not tell."""
WRITE_S = 2.0
"""How long one message may wait for a pipe that is full, or for a plumber that is being restarted."""
MODES = tuple(mode.value for mode in PipeMode)
OVERFLOWS = tuple(overflow.value for overflow in Overflow)
DEFAULT = PipeInfo(name="")


def namespace_of(args: Args, namespace: str) -> str:
    """The namespace of the pipe that a command names; raises InvalidError."""
    return resolve(args.text("pipe"), namespace)[0] if args.has("pipe") else namespace


def name_of(args: Args) -> str:
    """The name of the pipe within its namespace, empty if none is given; raises InvalidError."""
    return resolve(args.text("pipe"), DEFAULT_NAMESPACE)[1] if args.has("pipe") else ""


def pipe_rows(pipes: Sequence[PipeInfo]) -> list[Row]:
    """Rows of `pipe`; readers are those who attached and those who only subscribe."""
    return [
        (
            pipe.name,
            pipe.mode.value,
            str(pipe.readers + pipe.subscribers),
            str(pipe.writers),
            via_text(pipe),
            escaped(pipe.last.decode("utf-8", "replace").strip()),
            str(pipe.count),
            str(pipe.dropped),
            str(pipe.cut_off),
            str(pipe.waiting).lower(),
            str(pipe.log).lower(),
            pipe.overflow.value,
        )
        for pipe in pipes
    ]


def via_text(pipe: PipeInfo) -> str:
    """The program of a pipe, as it must be typed."""
    return " ".join(map(quote, pipe.via))


def pipe_list(reply: PipeList, args: Args) -> Answer:
    """One row a pipe."""
    return Answer(header=HEADER, rows=pipe_rows(reply.pipes))


def via_words(words: Sequence[str]) -> tuple[str, ...]:
    """Program and arguments; a single word with blanks in it is a command line of its own. Raises CommandError."""
    if len(words) > 1:
        return tuple(words)
    try:
        found = lex(words[0]).words
    except LexError as error:
        raise CommandError(f"cannot read the command of the via: {error}") from None
    if not found:
        raise CommandError("the command of a via cannot be empty")
    return tuple(map(str, found))


def set_request(args: Args) -> SetPipe | GetPipes:
    """A change of the property that the words name; without a value, the question for it. Raises CommandError."""
    name = name_of(args)
    if mode := args.chosen(*MODES):
        return SetPipe(pipe=name, mode=PipeMode(mode))
    if overflow := args.chosen(*OVERFLOWS):
        return SetPipe(pipe=name, overflow=Overflow(overflow))
    if truth := args.chosen("true", "false"):
        return SetPipe(pipe=name, log=truth == "true")
    if words := args.words("command"):
        return SetPipe(pipe=name, via=via_words(words))
    return GetPipes(pipe=name)


def set_answer(reply: object, args: Args) -> Answer:
    """Nothing after a change, else the value that was asked for; a pipe that nobody has used has the usual ones."""
    if not isinstance(reply, PipeList):
        return Answer()
    pipe = reply.pipes[0] if reply.pipes else DEFAULT
    values = {
        "mode": pipe.mode.value,
        "overflow": pipe.overflow.value,
        "log": str(pipe.log).lower(),
        "via": via_text(pipe),
    }
    return Answer(values[args.chosen(*values)])


def clear_request(args: Args) -> SetPipe | DeletePipes:
    """The end of a pipe, of all, or of one property."""
    name = name_of(args)
    match args.chosen("mode", "log", "via", "overflow"):
        case "mode":
            return SetPipe(pipe=name, mode=DEFAULT.mode)
        case "log":
            return SetPipe(pipe=name, log=DEFAULT.log)
        case "via":
            return SetPipe(pipe=name, via=DEFAULT.via)
        case "overflow":
            return SetPipe(pipe=name, overflow=DEFAULT.overflow)
        case _:
            return DeletePipes(pipe=name)


def write_request(args: Args) -> WritePipe:
    """One message, taken at once or not at all."""
    return WritePipe(pipe=name_of(args), data=args.text("data").encode("utf-8", "replace"), waits=False)


def _property(patterns: Sequence[str], help_short: str) -> Command:
    return Command(
        patterns=tuple(patterns),
        help_short=help_short,
        scope=Scope.BROADCAST,
        to="plumber",
        namespace=namespace_of,
        request=set_request,
        answer=set_answer,
        completers={"pipe": "pipe"},
    )


COMMANDS = (
    Command(
        patterns=("pipe",),
        help_short="list pipes, write to them, change how they work",
        help_long="""\
A pipe takes messages, which are lines, from any number of writers to any number
of readers. It is there from its first use. NAME is a pipe of the namespace this
connection acts in, NAMESPACE//NAME one of another.

`pipe` alone lists the pipes of the namespace. Readers are programs that attached
(`minibus pipe NAME`) and plain subscribers on the bus; `count` is how many
messages there were, `dropped` how many some reader missed, `cut_off` how many
readers were parted with because they fell silent, `waiting` whether writers wait
for a reader.

With a message, writes it: one word, so text with blanks needs quotes. This does
not wait for readers, and is an error if the pipe is full because a reader does
not keep up.

	pipe foo "hello world"

The other forms show a property of the pipe, or change it for all who use it:

	mode      who gets a message: all readers, one in turn, one by chance
	log       whether messages are logged, at level debug
	via       a program that makes of each message what one reader gets
	overflow  whether writers wait for a slow reader, or it misses messages

The program of a via is run for each message and each reader: the message is its
input, its output is what that reader gets.

	pipe foo mode round-robin
	pipe foo via sed s/a/b/""",
        scope=Scope.BROADCAST,
        to="plumber",
        request=lambda args: GetPipes(),
        answer=pipe_list,
    ),
    Command(
        patterns=("pipe <pipe> <data>",),
        help_short="write a message to a pipe",
        to="plumber",
        namespace=namespace_of,
        request=write_request,
        timeout_s=WRITE_S,
        free_text=True,
        completers={"pipe": "pipe"},
    ),
    _property(("pipe <pipe> <mode,> [all,round-robin,random]",), "show or change who gets messages of a pipe"),
    _property(("pipe <pipe> <log,> [true,false]",), "show or change whether messages of a pipe are logged"),
    _property(("pipe <pipe> <via,> [command]...",), "show or change the program that messages of a pipe go through"),
    _property(("pipe <pipe> <overflow,> [block,drop]",), "show or change what a slow reader of a pipe does to others"),
    Command(
        patterns=("clear pipe [pipe]", "clear pipe <pipe> <mode,log,via,overflow>"),
        help_short="delete a pipe or all, or make a property of one as it was at first",
        help_long="""\
Deletes a pipe, or without a name all pipes of the namespace this connection acts
in. Its readers get what is under way, and then its end. Writers are not
disturbed: their next message makes a new pipe of that name.

With a property, that one is as it was at first: `mode` all, `log` false, no
`via`, `overflow` block.""",
        scope=Scope.BROADCAST,
        to="plumber",
        namespace=namespace_of,
        request=clear_request,
        completers={"pipe": "pipe"},
    ),
)
