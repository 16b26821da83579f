"""Looking into running processes: logs, stacks, memory, CPU profiles. Every actor and the broker understand these."""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Message, Query, Request


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
    """`local`, `tcp:HOST:PORT` or `udp:HOST:PORT`; empty for none."""
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
    filters: tuple[str, ...] | None = None
    syslog: str | None = None
    ring: int | None = None


class LogLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A log record kept in memory."""

    time_s: float
    level: str
    actor: str
    text: str
    """As the file sink writes it."""


class LogLines(Message, frozen=True, kw_only=True, tag="log.lines"):
    """Records of one process, oldest first."""

    lines: tuple[LogLine, ...]


class GetLogLines(Query[LogLines], frozen=True, kw_only=True, tag="log.lines.get"):
    """The records that this process keeps in memory."""


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
    """Objects the garbage collector tracks."""
    rss_bytes: int
    fds: int


class GetRuntime(Query[RuntimeInfo], frozen=True, kw_only=True, tag="debug.runtime.get"):
    """How are you from the inside?"""


class Stacks(Message, frozen=True, kw_only=True, tag="debug.stacks"):
    """The stacks of all threads and asyncio tasks, as text."""

    text: str


class GetStacks(Query[Stacks], frozen=True, kw_only=True, tag="debug.stacks.get"):
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
    """Largest first, at most 100."""


class GetMemory(Query[MemoryUse], frozen=True, kw_only=True, tag="debug.memory.get"):
    """What fills your memory?"""


class StartProfile(Request[Ack], frozen=True, kw_only=True, tag="debug.profile.start"):
    """Measure where processor time goes; `conflict` if that is being done already."""


class ProfileEntry(msgspec.Struct, frozen=True, kw_only=True):
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


class Profile(Message, frozen=True, kw_only=True, tag="debug.profile"):
    """Where processor time went, dearest first, at most 2,000 functions."""

    entries: tuple[ProfileEntry, ...]


class StopProfile(Request[Profile], frozen=True, kw_only=True, tag="debug.profile.stop"):
    """End the measurement and tell; `conflict` if there is none."""
