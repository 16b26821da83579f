"""How far commands are in guests: `cc outcomes`, `exitcode`, `wait`, and `signal`, which ends them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from bus.errors import OutcomeUnknownError, UnreachableError
from bus.messages.base import WILDCARD
from bus.messages.cc import (
    ClientList,
    CommandState,
    GetClients,
    GetCommands,
    GetOutcomes,
    Outcome,
    Outcomes,
    SignalCommand,
)
from cli.answers.duration import format_duration, parse_duration
from cli.answers.printable import escaped
from cli.answers.response import Group, Response, Row
from cli.commands.declare import QUICK_S, Also, Answer, Args, Both, Call, Command, CommandError, Scope

HEADER = ("vm", "uuid", "state", "code", "started", "ended", "stdout", "stderr", "files", "moved", "error")
TURN_S = 2.0
"""How often `cc wait` tells how far it is, at most."""
LOOK_S = 0.25
"""How often it looks for agents that are to come yet."""
NAMED = 5
"""Guests that a complaint names."""
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


async def _chosen(call: Call) -> tuple[int, ...]:
    """The numbers of the commands that an id, a prefix or `all` means; raises CommandError for a prefix of none."""
    text = call.args.text("id")
    if text.isascii() and text.isdecimal():
        return (id_of(text),)
    listed = await call.engine.ask("cc", GetCommands(), timeout_s=QUICK_S, namespace=call.session.namespace)
    numbers = tuple(info.id for info in listed.commands if text in (WILDCARD, info.prefix))
    if not numbers and text != WILDCARD:
        raise CommandError(f"no such prefix: `{text[:200]}`")
    return numbers


# ---------------------------------------------------------------- tables


def _clock(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if 0 < time_s < 1e11 else ""


def outcome_row(outcome: Outcome) -> Row:
    """How far one guest is."""
    code = str(outcome.code) if outcome.state in CODED else ""
    times = (_clock(outcome.started_s), _clock(outcome.ended_s))
    sizes = (str(outcome.stdout), str(outcome.stderr), str(outcome.files), str(outcome.moved))
    return (outcome.vm, outcome.uuid, outcome.state.value, code, *times, *sizes, escaped(outcome.error))


def _table(call: Call, replies: Sequence[Outcomes], complaint: str = "") -> Response:
    """One row a guest; of several commands each says which."""
    if len(replies) == 1:
        rows = [outcome_row(outcome) for outcome in replies[0].outcomes]
        data = msgspec.to_builtins(replies[0])
        return Response(call.engine.host, header=HEADER, rows=rows, data=data, error=complaint)
    rows = [(str(reply.id), *outcome_row(outcome)) for reply in replies for outcome in reply.outcomes]
    data = [msgspec.to_builtins(reply) for reply in replies]
    return Response(call.engine.host, header=("id", *HEADER), rows=rows, data=data, error=complaint)


async def _outcomes(call: Call) -> AsyncIterator[Group]:
    """How far they are now."""
    namespace = call.session.namespace
    replies = [
        await call.engine.ask("cc", GetOutcomes(id=number), timeout_s=QUICK_S, namespace=namespace)
        for number in await _chosen(call)
    ]
    yield Group([_table(call, replies)])


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


# ---------------------------------------------------------------- waiting


class Wait:
    """One command that is waited for, until `end_s`."""

    def __init__(self, call: Call, number: int, limit_s: float, end_s: float) -> None:
        self.reply = Outcomes(id=number)
        self._call = call
        self._limit_s, self._end_s = limit_s, end_s
        self._late: list[str] = []

    async def progress(self) -> AsyncIterator[str]:
        """How far it is, whenever that has changed, until there is nothing more to wait for."""
        open_states = await self._open_states()
        told, turn_s = "", time.monotonic() + TURN_S
        while True:
            left_s = self._end_s - time.monotonic()
            reply = self.reply = await self._look(max(0.05, min(TURN_S, left_s)))
            self._late = [outcome.vm for outcome in reply.outcomes if outcome.state in open_states]
            if left_s <= 0 or (reply.done and (not reply.absent or self._end_s == float("inf"))):
                return
            if (text := self._so_far()) != told and time.monotonic() > turn_s:
                yield text
                told, turn_s = text, time.monotonic() + TURN_S
            if reply.done:
                await asyncio.sleep(min(LOOK_S, max(0.0, left_s)))

    def _so_far(self) -> str:
        count = len(self.reply.outcomes)
        moved = sum(outcome.moved for outcome in self.reply.outcomes)
        files = f", {moved / (1 << 20):.1f} MiB of files have arrived" if moved else ""
        return f"{count - len(self._late)} of {count} guests are done{files}"

    def complaint(self) -> str:
        """Why this is not the end; empty if it is."""
        reply, late = self.reply, self._late
        if reply.done and not reply.absent:
            return ""
        count = len(reply.outcomes)
        names = ", ".join(late[:NAMED]) + (f" and {len(late) - NAMED} more" if len(late) > NAMED else "")
        if self._limit_s < float("inf"):
            return f"after {format_duration(self._limit_s)}, {len(late)} of {count} guests are not done: {names}"
        return f"{reply.absent} of {count} guests are not done and their agents not connected: {names}"

    async def _open_states(self) -> tuple[CommandState, ...]:
        """In which a guest is not done: a program in the background has only to begin."""
        request = GetCommands(id=self.reply.id)
        namespace = self._call.session.namespace
        reply = await self._call.engine.ask("cc", request, timeout_s=QUICK_S, namespace=namespace)
        background = any(info.command.background for info in reply.commands)
        return (CommandState.WAITING,) if background else (CommandState.WAITING, CommandState.RUNNING)

    async def _look(self, timeout_s: float) -> Outcomes:
        """How far it is, at the latest after `timeout_s`."""
        ask, namespace, number = self._call.engine.ask, self._call.session.namespace, self.reply.id
        try:
            return await ask("cc", GetOutcomes(id=number, wait=True), timeout_s=timeout_s, namespace=namespace)
        except (OutcomeUnknownError, UnreachableError):  # the question was late, or the actor is being started again
            return await ask("cc", GetOutcomes(id=number), timeout_s=QUICK_S, namespace=namespace)


async def _wait(call: Call) -> AsyncIterator[Group]:
    """Tells how far it is while it goes on; an error if the deadline comes before the end."""
    limit_s = float("inf")
    if call.args.has("timeout"):
        try:
            limit_s = parse_duration(call.args.text("timeout"))
        except ValueError as error:
            raise CommandError(str(error)) from None
    end_s = time.monotonic() + limit_s
    waits = [Wait(call, number, limit_s, end_s) for number in await _chosen(call)]
    complaints: list[str] = []
    for wait in waits:
        which = f"command {wait.reply.id}: " if len(waits) > 1 else ""
        async for text in wait.progress():
            yield Group([Response(call.engine.host, which + text)], more=True)
        if complaint := wait.complaint():
            complaints.append(which + complaint)
    more = f"; {len(complaints) - 1} more of the commands are not done" if len(complaints) > 1 else ""
    yield Group([_table(call, [wait.reply for wait in waits], complaints[0] + more if complaints else "")])


# ---------------------------------------------------------------- ending


async def _signal(call: Call) -> AsyncIterator[Group]:
    """One after the other."""
    number = signal_of(call.args.text("signal", "TERM"))
    for command in await _chosen(call):
        request = SignalCommand(id=command, signal=number)
        await call.engine.ask("cc", request, timeout_s=QUICK_S, namespace=call.session.namespace)
    yield Group([Response(call.engine.host)])


COMMANDS = (
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
        completers={"id": "cc_command", "vm": "vm"},
    ),
    Command(
        patterns=("cc <outcomes,> <id or prefix or all>",),
        help_short="show how far commands are in each guest",
        help_long="""\
`state` is waiting, running, exited, signaled (by a signal, whose number is the
code), failed (it could not be done), timeout, killed (before it had begun, or a
transfer on its way), or unknown: the agent died while it ran, and it is not run
again. `stdout` and `stderr` are bytes, `moved` are those of files that have
arrived so far.""",
        scope=Scope.BROADCAST,
        run=_outcomes,
        completers={"id": "cc_target"},
    ),
    Command(
        patterns=("cc <wait,> <id or prefix or all> [timeout]",),
        help_short="wait until guests are done with commands",
        help_long="""\
Waits until all guests that a command is for are done with it, tells meanwhile how
many are, and then shows how it ended in each. With a time such as 30s or 5m, it
is an error if some are not done by then; nothing is ended thereby, `cc signal`
does that. Without one, guests whose agents are not connected are not waited for,
and that there are such is the error.

With a prefix or `all`, commands that are listed now are waited for, and the time
is that of all of them together.""",
        scope=Scope.BROADCAST,
        run=_wait,
        completers={"id": "cc_target"},
    ),
    Command(
        patterns=("cc <signal,> <id or prefix or all> [signal]",),
        help_short="end commands in all guests, or send them a signal",
        help_long="""\
Sends a signal, TERM if none is named, to the program where it runs. Guests that
have not begun it do not begin it any more.""",
        scope=Scope.BROADCAST,
        run=_signal,
        completers={"id": "cc_target"},
    ),
)
