"""The `cc` commands that give guests something to do: programs, files, processes, log level, connectivity."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Sequence

from bus.messages.base import Request
from bus.messages.cc import CommandKind, CommandPosted, CommandSpec, PostCommand
from cli.answers.duration import parse_duration
from cli.answers.response import Group, Response
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, CommandError, Scope

REDIRECTIONS = ("stdin", "stdout", "stderr")
TIMEOUT = "timeout"
"""The other word that may stand before a program."""
LEVELS = ("debug", "info", "warn", "error", "fatal")
MAX_PACKET = 60_000
"""Bytes; a UDP packet holds 65,507."""


def posted(reply: CommandPosted, args: Args) -> Answer:
    """Silent, unless it is for nobody. Programs get the id, bare, as later versions of minimega have it."""
    return Answer(reply.warning, data=reply.id)


def program(words: Sequence[str], *, background: bool = False, once: bool = False) -> CommandSpec:
    """Redirections to pipes and a time limit, then program and arguments; raises CommandError."""
    pipes: dict[str, str] = {}
    timeout_s = 0.0
    rest = list(words)
    while rest and (parts := rest[0].partition("="))[0] in (*REDIRECTIONS, TIMEOUT) and parts[1]:
        if parts[0] == TIMEOUT:
            timeout_s = limit_of(parts[2])
        elif not parts[2]:
            raise CommandError(f"{rest[0]} names no pipe")
        else:
            pipes[parts[0]] = parts[2]
        rest.pop(0)
    if not rest:
        raise CommandError("which program? there is only how it is to be run")
    if not rest[0]:
        raise CommandError("the name of a program cannot be empty")
    return CommandSpec(
        kind=CommandKind.EXEC,
        argv=tuple(rest),
        background=background,
        once=once,
        stdin=pipes.get("stdin", ""),
        stdout=pipes.get("stdout", ""),
        stderr=pipes.get("stderr", ""),
        timeout_s=timeout_s,
    )


def limit_of(text: str) -> float:
    """How long a program may run, in seconds; raises CommandError."""
    try:
        limit_s = parse_duration(text)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if limit_s <= 0:
        raise CommandError("the time that a program may run must be more than nothing")
    return limit_s


def pid_of(text: str) -> int:
    """A process id, or -1 for all; raises CommandError."""
    if text in ("all", "-1"):
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise CommandError(f"invalid PID: `{text[:80]}`")
    return int(text)


def port_of(text: str, what: str) -> int:
    """A port number; raises CommandError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) < 65_536):
        raise CommandError(f"non-integer {what}: {text[:80]} : a port is a number from 1 to 65535")
    return int(text)


def connectivity(args: Args) -> CommandSpec:
    """`cc test-conn`; raises CommandError."""
    protocol = args.chosen("tcp", "udp")
    packet = args.text("packet")
    try:
        wait_s = parse_duration(args.text("duration"))
        data = base64.b64decode(packet, validate=True)
    except binascii.Error:
        raise CommandError("the UDP packet is not base64") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    if wait_s <= 0:
        raise CommandError("the time to wait must be more than nothing")
    if protocol == "udp" and not data:
        raise CommandError("a test by UDP needs a packet that is answered, in base64")
    if protocol == "tcp" and data:
        raise CommandError("a packet is sent in tests by UDP only")
    if len(data) > MAX_PACKET:
        raise CommandError(f"a packet of {len(data)} bytes, and no more than {MAX_PACKET} are sent")
    return CommandSpec(
        kind=CommandKind.PROBE,
        protocol=protocol,
        host=args.text("host"),
        port=port_of(args.text("port"), "port"),
        wait_s=wait_s,
        packet=data,
    )


def _post(spec: Callable[[Args], CommandSpec]) -> Callable[[Args], Request[CommandPosted]]:
    return lambda args: PostCommand(command=spec(args))


def _run(pattern: str, help_short: str, help_long: str, *, background: bool, once: bool) -> Command:
    return Command(
        patterns=(pattern,),
        help_short=help_short,
        help_long=help_long,
        scope=Scope.BROADCAST,
        to="cc",
        request=_post(lambda args: program(args.words("command"), background=background, once=once)),
        answer=posted,
        free_text=True,
    )


async def _kill(call: Call) -> AsyncIterator[Group]:
    """A pid of 0 is nobody."""
    pid = pid_of(call.args.text("pid"))
    if pid == 0:
        yield Group([Response(call.engine.host)])
        return
    request = PostCommand(command=CommandSpec(kind=CommandKind.KILL, pid=pid))
    reply = await call.engine.ask("cc", request, timeout_s=QUICK_S, namespace=call.session.namespace)
    answer = posted(reply, call.args)
    yield Group([Response(call.engine.host, answer.text, data=answer.data)])


COMMANDS = (
    _run(
        "cc <exec,> <command>...",
        "run a program in guests",
        """\
Runs a program in every guest that the filter means, also in those that connect
later, once in each until it is booted again. No shell is involved: for one, say
so.

	cc exec sh -c "ls /tmp | wc -l"

Commands of a guest run one after the other, in the order in which they were
given. What a program writes comes back as it is written (`cc responses`), and
with it how it ended (`cc exitcode`, `cc wait`).

Words before the program connect it to pipes of the namespace, line by line:

	cc exec stdin=orders stdout=results worker -v

and limit its time; what has not ended by then is ended, with all that it has
started, and its state is `timeout`:

	cc exec timeout=30s make""",
        background=False,
        once=False,
    ),
    _run(
        "cc <exec-once,> <command>...",
        "run a program in guests, not again after they are booted",
        "As `cc exec`, but a guest that is booted again does not run it again.",
        background=False,
        once=True,
    ),
    _run(
        "cc <background,> <command>...",
        "run a program in guests and do not wait for its end",
        """\
As `cc exec`, but commands after it do not wait until it has ended. `cc process`
lists such programs and ends them.""",
        background=True,
        once=False,
    ),
    _run(
        "cc <background-once,> <command>...",
        "run a program in the background, not again after a boot",
        "As `cc background`, but a guest that is booted again does not run it again.",
        background=True,
        once=True,
    ),
    Command(
        patterns=("cc <send,> <file>...",),
        help_short="send files to guests",
        help_long="""\
Sends files of the file area, and directories with all in them, to the guests;
`*`, `?` and `[a-c]` stand for many. Relative names are looked for in the
namespace's directory of the area first. In the guest they are below `files/` in
the agent's directory (/tmp/miniccc). A file that is there already with the same
content is left alone, one with other content is replaced. Programs that were
sent can be run by their name.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=_post(lambda args: CommandSpec(kind=CommandKind.SEND, files=args.words("file"))),
        answer=posted,
        completers={"file": "area_file"},
    ),
    Command(
        patterns=("cc <recv,> <file>...",),
        help_short="get files from guests",
        help_long="""\
Gets files from the guests; `*`, `?` and `[a-c]` stand for many, relative names
are seen from where the agent runs. They are kept with the responses, below the
guest's UUID. A file that is not there is an error of that guest.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=_post(lambda args: CommandSpec(kind=CommandKind.RECEIVE, files=args.words("file"))),
        answer=posted,
        free_text=True,
    ),
    Command(
        patterns=("cc <process,> <kill,> <pid or all>",),
        help_short="end programs in guests",
        help_long="""\
Ends a process that `cc background` began, in every guest that the filter means
and that has one of this id, or with `all` every one of them.""",
        scope=Scope.BROADCAST,
        run=_kill,
    ),
    Command(
        patterns=("cc <process,> <killall,> <name>",),
        help_short="end programs in guests by name",
        help_long="""\
Ends all processes that `cc background` began and whose command line contains the
name, in every guest that the filter means.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=_post(lambda args: CommandSpec(kind=CommandKind.KILL_ALL, name=args.text("name"))),
        answer=posted,
        free_text=True,
    ),
    Command(
        patterns=(f"cc <log,> level <{','.join(LEVELS)}>",),
        help_short="change what agents write to their logs",
        scope=Scope.BROADCAST,
        to="cc",
        request=_post(lambda args: CommandSpec(kind=CommandKind.LEVEL, level=args.chosen(*LEVELS))),
        answer=posted,
    ),
    Command(
        patterns=("cc <test-conn,> <tcp,udp> <host> <port> wait <duration> [packet]",),
        help_short="test from within guests whether something can be reached",
        help_long="""\
Each guest that the filter means tries to reach an address and port, until it
succeeds or the time is over. Its response is `HOST:PORT | pass` or
`HOST:PORT | fail`. A test by UDP sends a packet, given in base64, and passes
when anything is answered.

	cc test-conn tcp 10.0.0.1 22 wait 10s""",
        scope=Scope.BROADCAST,
        to="cc",
        request=_post(connectivity),
        answer=posted,
        free_text=True,
    ),
)
