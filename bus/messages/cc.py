"""Command and control of guests: commands for their agents, what came of them, files, tunnels.

All of it belongs to the namespace of the envelope. `target` names a guest by VM name or UUID, `uuid` by UUID alone.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


class CommandKind(StrEnum):
    """What a command is."""

    EXEC = "exec"
    SEND = "send"
    RECEIVE = "recv"
    KILL = "kill"
    KILL_ALL = "killall"
    LEVEL = "level"
    PROBE = "probe"


class CommandState(StrEnum):
    """How far a command is in one guest."""

    WAITING = "waiting"
    """The guest has not begun: it is busy, frozen, or its agent is not connected."""
    RUNNING = "running"
    EXITED = "exited"
    SIGNALED = "signaled"
    FAILED = "failed"
    """It could not be begun or done; `error` says why."""
    TIMEOUT = "timeout"
    KILLED = "killed"
    """Ended before it had begun, or a transfer on its way."""
    UNKNOWN = "unknown"
    """The agent died between beginning and end; it is not run again."""


class GuestFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which guests; all that is given must match. An empty one matches every guest."""

    uuid: str = ""
    hostname: str = ""
    arch: str = ""
    os: str = ""
    ip: str = ""
    """An address, or a network in CIDR notation."""
    mac: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    """Columns of `vm info`, such as `name`, with the value wanted."""
    tags: tuple[tuple[str, str], ...] = ()


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done; each kind uses its own fields."""

    kind: CommandKind
    argv: tuple[str, ...] = ()
    """exec"""
    background: bool = False
    once: bool = False
    """Not run again after a reboot of the guest."""
    stdin: str = ""
    """Names of pipes of the namespace, here and in the next two."""
    stdout: str = ""
    stderr: str = ""
    timeout_s: float = 0.0
    """How long it may run in a guest; 0 for as long as it wants."""
    files: tuple[str, ...] = ()
    """send: names or globs in the file area. recv: paths or globs in the guest."""
    pid: int = 0
    """kill: -1 for every background process."""
    name: str = ""
    """killall: part of a command line."""
    level: str = ""
    protocol: str = ""
    """probe: tcp or udp."""
    host: str = ""
    port: int = 0
    wait_s: float = 0.0
    packet: bytes = b""


class CommandPosted(Message, frozen=True, kw_only=True, omit_defaults=True, tag="cc.posted"):
    """The command is on the list, and reaches every guest that matches now or later."""

    id: int
    guests: int = 0
    """How many match now."""
    warning: str = ""
    """One sentence, for instance that nothing matches."""


class PostCommand(Request[CommandPosted], frozen=True, kw_only=True, omit_defaults=True, tag="cc.post"):
    """Put a command on the list, under the filter and the prefix in force."""

    command: CommandSpec
    filter: GuestFilter | None = None
    """Instead of the filter in force."""


class SetFilter(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.filter.set"):
    """Commands posted from now on are for these guests; None for all."""

    filter: GuestFilter | None = None


class SetPrefix(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.prefix.set"):
    """Commands posted from now on carry this prefix; empty for none."""

    prefix: str = ""


class CcState(Message, frozen=True, kw_only=True, omit_defaults=True, tag="cc.state"):
    """What is in force in a namespace, and how many guests are connected."""

    clients: int = 0
    filter: GuestFilter | None = None
    prefix: str = ""
    listeners: tuple[str, ...] = ()
    """`address:port` of each."""


class GetCcState(Query[CcState], frozen=True, kw_only=True, tag="cc.state.get"):
    """What is in force?"""


class ClientInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A guest whose agent is connected."""

    uuid: str
    vm: str = ""
    """Name of the VM."""
    hostname: str = ""
    arch: str = ""
    os: str = ""
    ips: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    release: str = ""
    connected_s: float = 0.0
    """For how long."""
    silent_s: float = 0.0
    """How long ago it was heard."""


class ClientList(Message, frozen=True, kw_only=True, tag="cc.clients"):
    """By UUID."""

    clients: tuple[ClientInfo, ...]


class GetClients(Query[ClientList], frozen=True, kw_only=True, tag="cc.clients.get"):
    """Whose agents are connected?"""


class ConnectedGuests(Message, frozen=True, kw_only=True, tag="cc.connected.list"):
    """UUIDs of guests whose agents are connected."""

    uuids: tuple[str, ...]


class GetConnectedGuests(Query[ConnectedGuests], frozen=True, kw_only=True, tag="cc.connected.get"):
    """Only whose agents are connected, and nothing about them."""


class CommandInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One command of the list."""

    id: int
    prefix: str = ""
    command: CommandSpec
    filter: GuestFilter | None = None
    responses: int = 0
    """Guests that have answered."""
    states: dict[str, int] = {}
    """How many guests are how far."""
    posted_s: float = 0.0
    """Wall clock."""


class CommandList(Message, frozen=True, kw_only=True, tag="cc.commands"):
    """By id."""

    commands: tuple[CommandInfo, ...]


class GetCommands(Query[CommandList], frozen=True, kw_only=True, omit_defaults=True, tag="cc.commands.get"):
    """The list, or one of it; `not_found`."""

    id: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one command is in one guest."""

    uuid: str
    vm: str = ""
    state: CommandState
    code: int = 0
    """Exit status or number of the signal."""
    error: str = ""
    pid: int = 0
    started_s: float = 0.0
    """Wall clock of the guest."""
    ended_s: float = 0.0
    stdout: int = 0
    """Bytes, of those that have arrived."""
    stderr: int = 0
    files: int = 0
    """Whole ones."""
    moved: int = 0
    """Bytes of files that have arrived so far, in the guest or here."""


class Outcomes(Message, frozen=True, kw_only=True, omit_defaults=True, tag="cc.outcomes"):
    """A row for each guest that a command is for."""

    id: int
    outcomes: tuple[Outcome, ...] = ()
    done: bool = False
    """No guest that is connected now still waits or runs."""
    absent: int = 0
    """Guests that still wait or run, and whose VM lives, but whose agent is not connected."""


class GetOutcomes(Query[Outcomes], frozen=True, kw_only=True, omit_defaults=True, tag="cc.outcomes.get"):
    """How far is it? With `wait`, answered when it is done, or when time is nearly up."""

    id: int
    wait: bool = False


class SignalCommand(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.signal"):
    """Send a signal to a command where it runs, and take it from those where it waits."""

    id: int
    signal: int = 15
    uuid: str = ""
    """Only there."""


class ResponseFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Output or a received file: `<id>/<uuid>/<name>`."""

    id: int
    uuid: str
    name: str
    """`stdout`, `stderr`, or the absolute path in the guest."""
    size: int
    data: bytes = b""
    offset: int = 0


class Responses(Message, frozen=True, kw_only=True, omit_defaults=True, tag="cc.responses"):
    """A page of what has come back, in the lexical order of paths."""

    files: tuple[ResponseFile, ...] = ()
    cursor: str = ""
    """To be given with the next question; empty at the end."""


class GetResponses(Query[Responses], frozen=True, kw_only=True, omit_defaults=True, tag="cc.responses.get"):
    """What has come back, at most 1 MiB of it at once; `not_found` if there is nothing of that id or prefix."""

    target: str
    """An id, a prefix, or `all`."""
    cursor: str = ""
    with_data: bool = True
    most: int = 0
    """Bytes of each file; 0 for all of it."""


class DeleteCommands(Request[Ack], frozen=True, kw_only=True, tag="cc.commands.delete"):
    """Take commands from the list; they go on where they run. `not_found`."""

    target: str
    """An id, a prefix, or `all`: then ids begin anew, and the next command puts the responses so far aside."""


class DeleteResponses(Request[Ack], frozen=True, kw_only=True, tag="cc.responses.delete"):
    """Remove what has come back."""

    target: str


class ClearCc(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.clear"):
    """Make a namespace as it was in the beginning; connections stay."""

    parts: tuple[str, ...] = ()
    """Of commands, filter, prefix, responses; empty for all."""


class EndCc(Request[Ack], frozen=True, kw_only=True, tag="cc.end"):
    """The namespace ends: connections, listeners, tunnels and commands go. Responses are files, and stay."""


class GuestProcess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process that `cc background` began."""

    vm: str
    uuid: str
    pid: int
    argv: tuple[str, ...]
    id: int = 0


class GuestProcesses(Message, frozen=True, kw_only=True, tag="cc.processes"):
    """By name of the VM, then pid."""

    processes: tuple[GuestProcess, ...]


class GetGuestProcesses(Query[GuestProcesses], frozen=True, kw_only=True, tag="cc.processes.get"):
    """What runs in the background? `not_found`."""

    target: str
    """VM name, UUID, or `all`."""


class Listen(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.listen"):
    """Let agents of this namespace's VMs connect over TCP; `conflict` if the port is taken."""

    port: int
    address: str = ""
    """Empty for all interfaces, as minimega has it."""


class Unlisten(Request[Ack], frozen=True, kw_only=True, tag="cc.unlisten"):
    """No more; connections that stand go on. `not_found`."""

    port: int


class AgentConnected(Event, frozen=True, kw_only=True, tag="cc.connected"):
    """On `cc/<namespace>/<uuid>/connected/`: an agent is there and has told what it knew."""

    uuid: str
    vm: str


class AgentGone(Event, frozen=True, kw_only=True, omit_defaults=True, tag="cc.gone"):
    """On `cc/<namespace>/<uuid>/gone/`: the line is closed."""

    uuid: str
    vm: str
    reason: str = ""


class CommandOutput(Event, frozen=True, kw_only=True, tag="cc.output"):
    """On `cc/<namespace>/<uuid>/<id>/stdout/` or `.../stderr/`: bytes, in order; already on the disk."""

    id: int
    offset: int
    data: bytes


class CommandStarted(Event, frozen=True, kw_only=True, tag="cc.started"):
    """On `cc/<namespace>/<uuid>/<id>/started/`."""

    id: int
    pid: int


class CommandDone(Event, frozen=True, kw_only=True, tag="cc.done"):
    """On `cc/<namespace>/<uuid>/<id>/done/`, after all of its output."""

    id: int
    outcome: Outcome
