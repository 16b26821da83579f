"""`cc`: who is there, what is in force, what has been given to the guests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from bus.messages.cc import (
    CcState,
    ClearCc,
    ClientList,
    CommandInfo,
    CommandKind,
    CommandList,
    DeleteCommands,
    DeleteResponses,
    GetCcState,
    GetClients,
    GetCommands,
    GetGuestProcesses,
    GuestProcesses,
    Listen,
    SetFilter,
    SetPrefix,
    Unlisten,
)
from cli.answers.duration import format_duration
from cli.answers.printable import escaped
from cli.answers.response import Group, Response, Row
from cli.commands.cc import filter_words
from cli.commands.cc.posting import port_of
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, Scope

CLIENTS = ("uuid", "hostname", "arch", "os", "ip", "mac", "vm", "silent")
"""minimega's columns, then the VM's name, and for how long nothing was heard of the agent: a frozen guest is silent."""
COMMANDS_HEADER = (
    *("id", "prefix", "command", "responses", "background", "sent", "received", "level", "filter"),
    *("once", "connectivity", "waiting", "running", "timeout"),
)
"""minimega's columns, then what it does not tell."""
PROCESSES = ("name", "uuid", "pid", "command")
PARTS = ("commands", "filter", "prefix", "responses")
SHOWN_FILES = 10
"""Names of files in a cell."""
FOUND_S = 600.0
"""Removing a million files takes its time."""


def listed(words: tuple[str, ...]) -> str:
    """A list as minimega shows it, on one line."""
    return f"[{' '.join(map(escaped, words))}]"


def shortened(words: tuple[str, ...]) -> str:
    """The same of which there may be thousands: programs get all of them in the data."""
    if len(words) <= SHOWN_FILES:
        return listed(words)
    return listed((*words[:SHOWN_FILES], f"and {len(words) - SHOWN_FILES} more"))


def state_table(reply: CcState, args: Args) -> Answer:
    """How many guests are connected, and for programs all that is in force."""
    return Answer(header=("clients",), rows=[(str(reply.clients),)], data=msgspec.to_builtins(reply))


def client_table(reply: ClientList, args: Args) -> Answer:
    """One row a guest. What agents tell is escaped."""
    rows = [
        (
            client.uuid,
            escaped(client.hostname),
            escaped(client.arch),
            escaped(client.os),
            listed(client.ips),
            listed(client.macs),
            client.vm,
            format_duration(round(client.silent_s)),
        )
        for client in reply.clients
    ]
    return Answer(header=CLIENTS, rows=rows, data=[msgspec.to_builtins(client) for client in reply.clients])


def what(info: CommandInfo) -> str:
    """The cell `command`: what is typed after `cc exec`, and for ends of processes whose."""
    spec = info.command
    match spec.kind:
        case CommandKind.KILL:
            return f"[kill {'all' if spec.pid < 0 else spec.pid}]"
        case CommandKind.KILL_ALL:
            return f"[killall {escaped(spec.name)}]"
        case _:
            return listed(spec.argv)


def command_row(info: CommandInfo) -> Row:
    """One command of the list."""
    spec = info.command
    probe = f"{spec.protocol} {escaped(spec.host)}:{spec.port}" if spec.kind is CommandKind.PROBE else ""
    return (
        str(info.id),
        info.prefix,
        what(info),
        str(info.responses),
        str(spec.background).lower(),
        shortened(spec.files if spec.kind is CommandKind.SEND else ()),
        shortened(spec.files if spec.kind is CommandKind.RECEIVE else ()),
        spec.level,
        filter_words.text(info.filter),
        str(spec.once).lower(),
        probe,
        str(info.states.get("waiting", 0)),
        str(info.states.get("running", 0)),
        format_duration(spec.timeout_s) if spec.timeout_s else "",
    )


def command_table(reply: CommandList, args: Args) -> Answer:
    """By number."""
    rows = [command_row(info) for info in reply.commands]
    return Answer(header=COMMANDS_HEADER, rows=rows, data=[msgspec.to_builtins(info) for info in reply.commands])


def process_table(reply: GuestProcesses, args: Args) -> Answer:
    """One row a process."""
    rows = [
        (process.vm, process.uuid, str(process.pid), " ".join(map(escaped, process.argv)))
        for process in reply.processes
    ]
    return Answer(header=PROCESSES, rows=rows)


async def _state(call: Call) -> CcState:
    return await call.engine.ask("cc", GetCcState(), timeout_s=QUICK_S, namespace=call.session.namespace)


async def _prefix(call: Call) -> AsyncIterator[Group]:
    if prefix := call.args.text("prefix"):
        request = SetPrefix(prefix=prefix)
        await call.engine.ask("cc", request, timeout_s=QUICK_S, namespace=call.session.namespace)
        yield Group([Response(call.engine.host)])
    else:
        yield Group([Response(call.engine.host, (await _state(call)).prefix)])


async def _filter(call: Call) -> AsyncIterator[Group]:
    if words := call.args.words("filter"):
        request = SetFilter(filter=filter_words.parse(words))
        await call.engine.ask("cc", request, timeout_s=QUICK_S, namespace=call.session.namespace)
        yield Group([Response(call.engine.host)])
        return
    wanted = (await _state(call)).filter
    if wanted is None:
        yield Group([Response(call.engine.host)])
    else:
        row = filter_words.row(wanted)
        yield Group([Response(call.engine.host, header=filter_words.HEADER, rows=[row])])


async def _listeners(call: Call) -> AsyncIterator[Group]:
    rows = [(listener,) for listener in (await _state(call)).listeners]
    yield Group([Response(call.engine.host, header=("address",), rows=rows)])


def clear(args: Args) -> ClearCc:
    """All of it, or one part."""
    part = args.chosen(*PARTS)
    return ClearCc(parts=(part,) if part else ())


COMMANDS = (
    Command(
        patterns=("cc",),
        help_short="command and control of guests: programs, files, tunnels",
        help_long="""\
Guests that run the agent (minibus-agent) can be commanded without any network in
them. `cc` alone shows how many of this namespace are connected.

	cc filter os=linux
	cc exec uname -a
	cc responses all

A command is for every guest that the filter in force matched then, or matches
later while the command is on the list (`cc commands`): guests that connect later
get it too. Each runs it once, until it is booted again. `cc wait` waits until all
are done.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: GetCcState(),
        answer=state_table,
    ),
    Command(
        patterns=("cc <clients,>",),
        help_short="list guests whose agents are connected",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: GetClients(),
        answer=client_table,
    ),
    Command(
        patterns=("cc <commands,>",),
        help_short="list what guests were told to do",
        help_long="""\
`responses` is how many guests have answered, `waiting` how many are still to
begin and `running` how many are at it. `cc outcomes ID` shows each guest.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: GetCommands(),
        answer=command_table,
    ),
    Command(
        patterns=("cc <prefix,> [prefix]",),
        help_short="show or set a name for the commands that follow",
        help_long="""\
Commands given from now on carry this name, by which they and their responses can
be shown and deleted together. `clear cc prefix` ends it.""",
        scope=Scope.BROADCAST,
        run=_prefix,
    ),
    Command(
        patterns=("cc <filter,> [filter]...",),
        help_short="show or set which guests the commands that follow are for",
        help_long="""\
Each word is a pair; all of them must be true. It takes the place of the filter
before.

	uuid=U hostname=H arch=A os=O
	ip=ADDRESS or ip=NETWORK/BITS, mac=M
	name=web1, name=web[1-20],db or another column of `vm info`
	tag=KEY:VALUE, or KEY=VALUE for any other key

Guests are looked at again when they connect, tell other addresses or are tagged.
`clear cc filter` lets commands be for all guests again.""",
        scope=Scope.BROADCAST,
        run=_filter,
        free_text=True,
    ),
    Command(
        patterns=("cc <process,> <list,> <vm name, uuid or all>",),
        help_short="list programs that run in the background of guests",
        help_long="Shows what `cc background` began and has not ended yet.",
        scope=Scope.TARGETED,
        to="cc",
        request=lambda args: GetGuestProcesses(target=args.text("vm")),
        answer=process_table,
        completers={"vm": "vm"},
    ),
    Command(
        patterns=("cc <delete,> <command,> <id or prefix or all>",),
        help_short="take commands off the list",
        help_long="""\
Guests that connect later do not get them. Where they run they go on: `cc signal`
ends them. Responses stay. With `all` the numbers begin anew.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: DeleteCommands(target=args.text("id")),
        completers={"id": "cc_target"},
    ),
    Command(
        patterns=("cc <delete,> <response,> <id or prefix or all>",),
        help_short="delete what has come back from guests",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: DeleteResponses(target=args.text("id")),
        timeout_s=FOUND_S,
        completers={"id": "cc_target"},
    ),
    Command(
        patterns=("cc <listen,>",),
        help_short="list where agents can connect over TCP",
        scope=Scope.BROADCAST,
        run=_listeners,
    ),
    Command(
        patterns=("cc <listen,> <port> [address]",),
        help_short="let agents connect over TCP",
        help_long="""\
Listens on all interfaces of the host, or on one address. Only agents of VMs of
this namespace are let in; a VM is known by its UUID, so on a network that others
use too, anybody who knows one can pretend to be it. Guests of their own accord
use the socket or serial port that they were given, which needs none of this.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: Listen(port=port_of(args.text("port"), "port"), address=args.text("address")),
    ),
    Command(
        patterns=("clear cc <listen,> <port>",),
        help_short="do not let agents connect over TCP any more",
        help_long="Those that are connected stay so.",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: Unlisten(port=port_of(args.text("port"), "port")),
    ),
    Command(
        patterns=("clear cc", f"clear cc <{','.join(PARTS)}>"),
        help_short="forget commands, filter, prefix and responses, or one of them",
        help_long="After the commands are cleared, their numbers begin anew.",
        scope=Scope.BROADCAST,
        to="cc",
        request=clear,
        timeout_s=FOUND_S,
    ),
)
