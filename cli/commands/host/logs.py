"""`log`: where log records go, and which. The settings belong to the node and hold for all its processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from bus.logs.log_format import Line, text_line
from bus.logs.log_settings import LEVELS, MAX_RING, SYSLOG_LOCAL
from bus.messages.base import DEFAULT_NAMESPACE, Request
from bus.messages.debug import GetLogging, GetLogLines, Logging, LogLines, ResetLogging, SetLogging
from cli.answers.response import Group, Response
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, CommandError
from cli.commands.host.inspection import ask_processes, running

CLEARED = {
    "file": "file",
    "level": "level",
    "stderr": "stderr",
    "filter": "filters",
    "syslog": "syslog",
    "ring": "ring",
}
"""What `clear log` names, and the setting that it means."""


def _level(args: Args) -> Request[Any]:
    chosen = args.chosen(*LEVELS)
    return SetLogging(level=chosen) if chosen else GetLogging()


def _stderr(args: Args) -> Request[Any]:
    chosen = args.chosen("true", "false")
    return SetLogging(stderr=chosen == "true") if chosen else GetLogging()


def _filter(args: Args) -> Request[Any]:
    if not args.has("filter"):
        return GetLogging()
    if not args.text("filter"):
        raise CommandError("a log filter cannot be empty: it would hold back every record")
    return SetLogging(add_filter=args.text("filter"))


def _syslog(args: Args) -> Request[Any]:
    if args.has("local"):
        return SetLogging(syslog=SYSLOG_LOCAL)
    return SetLogging(syslog=f"{args.chosen('tcp', 'udp')}:{args.text('address')}")


def _clear(args: Args) -> Request[Any]:
    chosen = args.chosen(*CLEARED)
    return ResetLogging(settings=(CLEARED[chosen],) if chosen else ())


def _level_shown(reply: Any, args: Args) -> Answer:
    return Answer(reply.level if isinstance(reply, Logging) else "")


def _stderr_shown(reply: Any, args: Args) -> Answer:
    return Answer(("true" if reply.stderr else "false") if isinstance(reply, Logging) else "")


def _filters_shown(reply: Any, args: Args) -> Answer:
    return Answer(f"[{' '.join(reply.filters)}]" if isinstance(reply, Logging) else "")


async def _file(call: Call) -> AsyncIterator[Group]:
    engine = call.engine
    text = ""
    if call.args.has("file"):
        name = call.args.text("file")
        change = SetLogging(file=str(engine.files_dir / name) if name else "")
        await engine.ask("node", change, timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)
    else:
        text = (await _settings(call)).file
    yield Group([Response(engine.host, text)])


async def _settings(call: Call) -> Logging:
    return await call.engine.ask("node", GetLogging(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)


def parse_size(text: str) -> int:
    """How many records a ring shall hold; raises CommandError."""
    if not (text.isascii() and text.isdecimal()) or int(text[:9]) > MAX_RING:
        raise CommandError(f"invalid size `{text[:80]}`: expected 0 to {MAX_RING} records")
    return int(text[:9])


async def _ring(call: Call) -> AsyncIterator[Group]:
    engine = call.engine
    if call.args.has("size"):
        change = SetLogging(ring=parse_size(call.args.text("size")))
        await engine.ask("node", change, timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)
        yield Group([Response(engine.host)])
        return
    if not (await _settings(call)).ring:
        raise CommandError("the log ring is off: `log ring 1000` turns it on")
    found = await ask_processes(engine, await running(engine), GetLogLines(), also=("node",))
    lines = [line for one in found if isinstance(one.reply, LogLines) for line in one.reply.lines]
    lines.sort(key=lambda line: line.time_s)
    shown = [text_line(Line(line.time_s, line.level, line.actor, line.text)) for line in lines]
    shown += [
        f"(nothing from {one.process.actor}: {one.reply})"
        for one in found
        if isinstance(one.reply, str) and one.process.actor != "warden"
    ]
    yield Group([Response(engine.host, "\n".join(shown))])


COMMANDS = (
    Command(
        patterns=(f"log level [{','.join(LEVELS)}]",),
        help_short="which log records are written: show or change",
        help_long="""\
Records below the level are written nowhere: not to stderr, to no file, and not
on the bus. It holds for all processes of this host at once.""",
        to="node",
        request=_level,
        answer=_level_shown,
    ),
    Command(
        patterns=("log stderr [true,false]",),
        help_short="whether log records go to stderr: show or change",
        help_long="Records on stderr are JSON, one a line. A detached minibus has its stderr in log/minibus.log.",
        to="node",
        request=_stderr,
        answer=_stderr_shown,
    ),
    Command(
        patterns=("log file [file]",),
        help_short="file for log records: show or change",
        help_long="""\
Records are appended, in lines of the form

	YYYY/MM/DD hh:mm:ss LEVEL FILE:LINE: message

A relative path begins in the file area. The same file once more opens it anew,
after it was moved away for example.""",
        run=_file,
    ),
    Command(
        patterns=("log filter [filter]",),
        help_short="hold log records back: show or add a text",
        help_long="""\
Records whose line contains the text, after date and level, are written nowhere:

	log filter guest_id=7""",
        to="node",
        request=_filter,
        answer=_filters_shown,
        free_text=True,
    ),
    Command(
        patterns=("log syslog remote <tcp,udp> <address>", "log syslog <local,>"),
        help_short="send log records to syslog",
        help_long="""\
To the syslog daemon of this host, or to that at HOST:PORT. There is one at most:
the last one named. Records carry the tag minibus. What a server does not take in
time is dropped, beginning with the oldest of 512 records a process.""",
        to="node",
        request=_syslog,
    ),
    Command(
        patterns=("log ring [size]",),
        help_short="keep log records in memory: show them, or how many",
        help_long="""\
Each process keeps its last records, and `log ring` shows them all in order of
time. 0 turns it off. A process that is restarted begins anew.""",
        run=_ring,
    ),
    Command(
        patterns=("clear log", *(f"clear log <{name},>" for name in CLEARED)),
        help_short="logging as it was at the start",
        help_long="Everything about logs, or one part of it, becomes what it was when minibus was started.",
        to="node",
        request=_clear,
    ),
)
