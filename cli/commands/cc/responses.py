"""What has come back from guests: `cc responses`, `exitcode`, `outcomes`, `wait`, and `signal`."""

from __future__ import annotations

import asyncio
import codecs
import signal
import time
from collections.abc import AsyncIterator

import msgspec

from bus.errors import OutcomeUnknownError, UnreachableError
from bus.messages.cc import (
    ClientList,
    CommandState,
    GetClients,
    GetCommands,
    GetOutcomes,
    GetResponses,
    Outcome,
    Outcomes,
    ResponseFile,
    SignalCommand,
)
from cli.answers.duration import format_duration, parse_duration
from cli.answers.printable import escaped
from cli.answers.render import encode_json
from cli.answers.response import Group, Response, Row
from cli.commands.declare import QUICK_S, Also, Answer, Args, Both, Call, Command, CommandError, Scope

HEADER = ("vm", "uuid", "state", "code", "started", "ended", "stdout", "stderr", "files", "error")
PAGE_S = 60.0
TURN_S = 2.0
"""How often `cc wait` tells how far it is, at most."""
LOOK_S = 0.25
"""How often it looks for agents that are to come yet."""
NAMED = 5
"""Guests that a complaint names."""
MAX_TEXT = 16 * 1024 * 1024
"""Bytes of responses, as JSON, that one command shows: they are written in one go, meanwhile nobody else is served.
Larger ones are read in the directory."""
CODED = (CommandState.EXITED, CommandState.SIGNALED)
"""States in which there is an exit status or the number of a signal."""


def id_of(text: str) -> int:
    """The number of a command; raises CommandError."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10):
        raise CommandError(f"commands are numbered, and {text[:80]} is no number: `cc commands` shows them")
    return int(text)


def signal_of(text: str) -> int:
    """15, TERM or SIGTERM; raises CommandError."""
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name in signal.Signals.__members__:
        return int(signal.Signals[name])
    if text.isascii() and text.isdecimal() and len(text) < 3 and 0 < int(text) < 65:
        return int(text)
    raise CommandError(f"there is no signal {text[:40]}: say for instance TERM, KILL or 15")


def _clock(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if 0 < time_s < 1e11 else ""


def outcome_row(outcome: Outcome) -> Row:
    """How far one guest is."""
    code = str(outcome.code) if outcome.state in CODED else ""
    times = (_clock(outcome.started_s), _clock(outcome.ended_s))
    sizes = (str(outcome.stdout), str(outcome.stderr), str(outcome.files))
    return (outcome.vm, outcome.uuid, outcome.state.value, code, *times, *sizes, escaped(outcome.error))


def outcome_table(reply: Outcomes, args: Args) -> Answer:
    """One row a guest."""
    rows = [outcome_row(outcome) for outcome in reply.outcomes]
    return Answer(header=HEADER, rows=rows, data=msgspec.to_builtins(reply))


def exit_code(replies: Both, args: Args) -> Answer:
    """The exit status in one guest, -1 if the program could not run or its time was over."""
    reply: Outcomes = replies.reply
    outcome = _of_guest(reply, replies.also, args.text("vm"))
    if outcome is None:
        return Answer(error=f"command {reply.id} is not for a guest `{args.text('vm')[:200]}`")
    match outcome.state:
        case CommandState.EXITED:
            code = outcome.code
        case CommandState.SIGNALED:
            code = 128 + outcome.code
        case CommandState.FAILED | CommandState.TIMEOUT:
            code = -1
        case state:
            return Answer(error=f"there is no exit code: the command is {state.value} in {outcome.vm}")
    return Answer(str(code), data=msgspec.to_builtins(outcome))


def _of_guest(reply: Outcomes, clients: ClientList | None, wanted: str) -> Outcome | None:
    """By name of the VM, UUID or, if it is only one's, hostname."""
    for outcome in reply.outcomes:
        if wanted == outcome.vm or wanted.lower() == outcome.uuid:
            return outcome
    hosts = {client.uuid for client in clients.clients if client.hostname == wanted} if clients else set()
    found = [outcome for outcome in reply.outcomes if outcome.uuid in hosts]
    return found[0] if len(found) == 1 else None


class Shown:
    """Files as text: the path of each before it, a newline behind it."""

    def __init__(self, *, raw: bool) -> None:
        self.size = 0
        """Bytes as JSON so far: six for one of a character that has to be escaped."""
        self._raw = raw
        self._parts: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, file: ResponseFile) -> None:
        """Take a file, or the next piece of the last one."""
        if not file.offset:
            self._decoder.reset()
            if not self._raw:
                self._append(f"{file.id}/{file.uuid}/{escaped(file.name.lstrip('/'))}:\n")
        ends = file.offset + len(file.data) >= file.size
        self._append(self._decoder.decode(file.data, final=ends))
        if ends:
            self._append("\n")

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self.size += len(encode_json(text))

    def text(self) -> str:
        """All of it."""
        return "".join(self._parts)


async def _responses(call: Call) -> AsyncIterator[Group]:
    """Text for people, files with their sizes for programs."""
    shown = Shown(raw=call.args.has("raw"))
    files: list[dict[str, object]] = []
    cursor = ""
    while True:
        request = GetResponses(target=call.args.text("id"), cursor=cursor)
        page = await call.engine.ask("cc", request, timeout_s=PAGE_S, namespace=call.session.namespace)
        for file in page.files:
            shown.add(file)
            if not file.offset:
                files.append({"id": file.id, "uuid": file.uuid, "name": file.name, "size": file.size})
        cursor = page.cursor
        if not cursor:
            break
        if shown.size > MAX_TEXT:
            raise CommandError(
                f"there are more than {MAX_TEXT >> 20} MiB of responses: "
                "ask for fewer, or read the files in miniccc_responses"
            )
    yield Group([Response(call.engine.host, shown.text(), data=files or None)])


async def _wait(call: Call) -> AsyncIterator[Group]:
    """Tells how far it is while it goes on; an error if the deadline comes before the end."""
    number = id_of(call.args.text("id"))
    limit_s = float("inf")
    if call.args.has("timeout"):
        try:
            limit_s = parse_duration(call.args.text("timeout"))
        except ValueError as error:
            raise CommandError(str(error)) from None
    end_s = time.monotonic() + limit_s
    open_states = await _open_states(call, number)
    told, turn_s = -1, time.monotonic() + TURN_S
    while True:
        left_s = end_s - time.monotonic()
        reply = await _look(call, number, max(0.05, min(TURN_S, left_s)))
        late = [outcome.vm for outcome in reply.outcomes if outcome.state in open_states]
        done = len(reply.outcomes) - len(late)
        if left_s <= 0 or (reply.done and (not reply.absent or end_s == float("inf"))):
            break
        if done != told and time.monotonic() > turn_s:
            progress = f"{done} of {len(reply.outcomes)} guests are done"
            yield Group([Response(call.engine.host, progress)], more=True)
            told, turn_s = done, time.monotonic() + TURN_S
        if reply.done:
            await asyncio.sleep(min(LOOK_S, max(0.0, left_s)))
    answer = outcome_table(reply, call.args)
    complaint = _complaint(reply, late, limit_s)
    response = Response(call.engine.host, header=answer.header, rows=answer.rows, data=answer.data, error=complaint)
    yield Group([response])


def _complaint(reply: Outcomes, late: list[str], limit_s: float) -> str:
    """Why this is not the end; empty if it is."""
    if reply.done and not reply.absent:
        return ""
    names = ", ".join(late[:NAMED]) + (f" and {len(late) - NAMED} more" if len(late) > NAMED else "")
    if limit_s < float("inf"):
        return f"after {format_duration(limit_s)}, {len(late)} of {len(reply.outcomes)} guests are not done: {names}"
    return f"{reply.absent} of {len(reply.outcomes)} guests are not done and their agents not connected: {names}"


async def _open_states(call: Call, number: int) -> tuple[CommandState, ...]:
    """In which a guest is not done: a program in the background has only to begin."""
    request = GetCommands(id=number)
    reply = await call.engine.ask("cc", request, timeout_s=QUICK_S, namespace=call.session.namespace)
    background = any(info.command.background for info in reply.commands)
    return (CommandState.WAITING,) if background else (CommandState.WAITING, CommandState.RUNNING)


async def _look(call: Call, number: int, timeout_s: float) -> Outcomes:
    """How far it is, at the latest after `timeout_s`."""
    namespace = call.session.namespace
    try:
        return await call.engine.ask("cc", GetOutcomes(id=number, wait=True), timeout_s=timeout_s, namespace=namespace)
    except (OutcomeUnknownError, UnreachableError):  # the question was late, or the actor is being started again
        return await call.engine.ask("cc", GetOutcomes(id=number), timeout_s=QUICK_S, namespace=namespace)


def signal_request(args: Args) -> SignalCommand:
    """Raises CommandError."""
    return SignalCommand(id=id_of(args.text("id")), signal=signal_of(args.text("signal", "TERM")))


COMMANDS = (
    Command(
        patterns=("cc <responses,> <id or prefix or all> [raw,]",),
        help_short="show what has come back from guests",
        help_long="""\
Shows what programs wrote, and the files that `cc recv` got, of one command, of
those with a prefix, or of all. Before each stands which it is, unless `raw`:
COMMAND/UUID/stdout, COMMAND/UUID/stderr, or the path in the guest. The same files
are in the file area, in `miniccc_responses`.""",
        scope=Scope.BROADCAST,
        run=_responses,
    ),
    Command(
        patterns=("cc <exitcode,> <id> <vm name, hostname or uuid>",),
        help_short="show how a program ended in a guest",
        help_long="""\
The exit code, 128 and more if a signal ended it, -1 if it could not be run or its
time was over.""",
        scope=Scope.TARGETED,
        to="cc",
        request=lambda args: GetOutcomes(id=id_of(args.text("id"))),
        answer=exit_code,
        also=Also("cc", lambda args: GetClients()),
        completers={"vm": "vm"},
    ),
    Command(
        patterns=("cc <outcomes,> <id>",),
        help_short="show how far a command is in each guest",
        help_long="""\
`state` is waiting, running, exited, signaled (by a signal, whose number is the
code), failed (it could not be done), timeout, killed (before it had begun, or a
transfer on its way), or unknown: the agent died while it ran, and it is not run
again. `stdout` and `stderr` are bytes.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: GetOutcomes(id=id_of(args.text("id"))),
        answer=outcome_table,
    ),
    Command(
        patterns=("cc <wait,> <id> [timeout]",),
        help_short="wait until guests are done with a command",
        help_long="""\
Waits until all guests that the command is for are done with it, tells meanwhile
how many are, and then shows how it ended in each. With a time such as 30s or 5m,
it is an error if some are not done by then; nothing is ended thereby, `cc signal`
does that. Without one, guests whose agents are not connected are not waited for,
and that there are such is the error.""",
        scope=Scope.BROADCAST,
        run=_wait,
    ),
    Command(
        patterns=("cc <signal,> <id> [signal]",),
        help_short="end a command in all guests, or send it a signal",
        help_long="""\
Sends a signal, TERM if none is named, to the program where it runs. Guests that
have not begun it do not begin it any more.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=signal_request,
    ),
)
