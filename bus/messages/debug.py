"""Looking into running processes: logs, stacks, memory, CPU profiles. Every actor and the broker understand these."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

from bus.messages.base import Ack, Message, Query, Request

R_co = TypeVar("R_co", bound=Message, covariant=True)


class Inspection(Query[R_co], Generic[R_co], frozen=True, kw_only=True, omit_defaults=True, tag="debug.inspection"):
    """A question about the process and not about its work: every actor and the broker answer it by themselves."""


class Logging(Message, frozen=True, kw_only=True, omit_defaults=True, tag="log.settings"):
    """Where the processes of a node write their log records, and which."""

    level: str = "info"
    """Records below it are not written anywhere."""
    stderr: bool = True
    file: str = ""
    """Records are appended to it, in minimega's line format; empty for none."""
    filters: tuple[str, ...] = ()
    """A record whose text contains one of these is not written anywhere."""
    syslog: str = ""
    """`local`, `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT`; empty for none."""
    ring: int = 0
    """Records kept in memory by each process; 0 for none."""


class GetLogging(Query[Logging], frozen=True, kw_only=True, tag="log.settings.get"):
    """To `node`: the settings in force."""


class SetLogging(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="log.settings.set"):
    """To `node`: these settings are in force from now on, for every process and for those started later.

    `invalid` and the reason if a sink cannot be opened; then nothing has changed.
    """

    level: str | None = None
    """None leaves a setting as it is, here and below."""
    stderr: bool | None = None
    file: str | None = None
    """Absolute; opened anew even if it is the one in force, so that a file can be moved away before."""
    add_filter: str = ""
    """One more; `ResetLogging` takes them away."""
    syslog: str | None = None
    """Instead of an address also a name, which is resolved once."""
    ring: int | None = None


class ResetLogging(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="log.settings.reset"):
    """To `node`: settings become again what they were when the node started."""

    settings: tuple[str, ...] = ()
    """Names of fields of `Logging`; empty for all."""


class Flags(Message, frozen=True, kw_only=True, tag="node.flags"):
    """What a node was started with, defaults included."""

    flags: dict[str, str]


class GetFlags(Query[Flags], frozen=True, kw_only=True, tag="node.flags.get"):
    """To `node`: what were you started with?"""


class LogLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A log record kept in memory."""

    time_s: float
    level: str
    actor: str
    text: str
    """`FILE:LINE: ` and the message."""


class LogLines(Message, frozen=True, kw_only=True, tag="log.lines"):
    """Records of one process, oldest first."""

    lines: tuple[LogLine, ...]


class GetLogLines(Inspection[LogLines], frozen=True, kw_only=True, tag="log.lines.get"):
    """The records that this process keeps in memory. Those of the warden are kept by `node`."""


class RuntimeInfo(Message, frozen=True, kw_only=True, omit_defaults=True, tag="debug.runtime"):
    """How a process is from the inside."""

    actor: str
    pid: int
    python: str
    """Version of the interpreter."""
    uptime_s: float
    cpu_s: float
    """Processor time used so far."""
    threads: int
    tasks: int
    """asyncio tasks."""
    objects: int
    """Objects that the garbage collector looks after; not those that were there before the process was forked."""
    rss_bytes: int
    fds: int


class GetRuntime(Inspection[RuntimeInfo], frozen=True, kw_only=True, tag="debug.runtime.get"):
    """How are you from the inside?"""


class Stacks(Message, frozen=True, kw_only=True, tag="debug.stacks"):
    """The stacks of all threads and asyncio tasks, as text."""

    text: str


class GetStacks(Inspection[Stacks], frozen=True, kw_only=True, tag="debug.stacks.get"):
    """Where is everything in your code right now?"""


class TypeUse(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one type."""

    name: str
    count: int
    size_bytes: int


class MemoryUse(Message, frozen=True, kw_only=True, tag="debug.memory"):
    """What fills the memory of a process: the kernel's figures, and the largest types."""

    rss_bytes: int
    pss_bytes: int
    private_bytes: int
    types: tuple[TypeUse, ...]
    """Largest first, at most 100, of what was made since the process was forked."""
    partial: bool = False
    """There was no time to look at all objects."""


class GetMemory(Inspection[MemoryUse], frozen=True, kw_only=True, tag="debug.memory.get"):
    """What fills your memory?"""


class StartProfile(Inspection[Ack], frozen=True, kw_only=True, tag="debug.profile.start"):
    """Measure where processor time goes; `conflict` if that is being done already."""

    file: str
    """Only remembered: where the asker wants to write the result."""


class ProfileCaller(msgspec.Struct, frozen=True, kw_only=True):
    """What a function cost when called by one other."""

    entry: int
    """Index of the calling function."""
    calls: int
    primitive_calls: int
    own_s: float
    total_s: float


class ProfileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Time spent in one function."""

    file: str
    line: int
    function: str
    calls: int
    primitive_calls: int
    """Without recursive ones."""
    own_s: float
    total_s: float
    """Including what it called."""
    callers: tuple[ProfileCaller, ...] = ()


class Profile(Message, frozen=True, kw_only=True, tag="debug.profile"):
    """Where processor time went, dearest first, at most 2,000 functions."""

    file: str
    """As given at the start."""
    entries: tuple[ProfileEntry, ...]


class StopProfile(Inspection[Profile], frozen=True, kw_only=True, tag="debug.profile.stop"):
    """End the measurement and tell; `conflict` if there is none."""


InputKind = Literal["request", "ask", "report", "command"]


class InputRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input of a process, without its contents."""

    number: int
    """Counts the inputs of the process."""
    time_s: float
    kind: InputKind
    """A request that came; an ask of its own; what came of an effect; a command that somebody typed."""
    type: str
    """Of the message; of a command, its fixed words."""
    id: str = ""
    cause: str = ""
    """Id of the request or command that led to it."""
    sender: str = ""
    """Who asked; empty for what the process did itself."""
    to: str = ""
    """Who was asked, if that is not the process itself."""
    namespace: str = ""
    queue_s: float = 0.0
    """How long a request was on its way."""
    duration_s: float | None = None
    """Until it was answered; None if that has not happened, or nobody saw when."""
    outcome: str = ""
    """`ok`, the code of a failure, `given up` or `asked again`; empty while it is under way."""
    summary: str = ""
    """Some of what was asked: names and numbers, never contents."""
    restored: bool = False
    """It came before the process was restarted, and is known from its journal."""
    times: int = 1
    """Of a report: so many equal ones came in a row, the last of them `duration_s` after the first."""


class InputList(Message, frozen=True, kw_only=True, tag="debug.inputs"):
    """Inputs of one process, oldest first."""

    actor: str
    inputs: tuple[InputRecord, ...]
    epoch: str = ""
    """Another one means that the process was restarted, and counts anew."""


class GetInputs(Inspection[InputList], frozen=True, kw_only=True, omit_defaults=True, tag="debug.inputs.get"):
    """What were your last inputs? At most the last 1,000, and older ones that are still under way."""

    after: int = 0
    """Only those with a higher number, and those still under way."""
    also: tuple[int, ...] = ()
    """Numbers of others that are to be told, if they are remembered."""


class Understood(Message, frozen=True, kw_only=True, tag="debug.requests"):
    """Types of the requests that a process answers, sorted."""

    types: tuple[str, ...]


class GetUnderstood(Inspection[Understood], frozen=True, kw_only=True, tag="debug.requests.get"):
    """What can you be asked?"""
