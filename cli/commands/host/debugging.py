"""`debug`: what running processes can tell about themselves. `args`: what they were started with."""

from __future__ import annotations

import asyncio
import marshal
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from bus.messages.base import Ack
from bus.messages.debug import (
    Flags,
    GetFlags,
    GetMemory,
    GetRuntime,
    GetStacks,
    MemoryUse,
    Profile,
    RuntimeInfo,
    Stacks,
    StartProfile,
    StopProfile,
)
from bus.processes import Figures, figures, kernel_stacks
from cli.answers.duration import format_duration
from cli.answers.response import Group, Response, Row
from cli.commands.declare import Answer, Args, Call, Command, CommandError
from cli.commands.host.inspection import SILENT, Found, ask_processes, running
from cli.commands.report_file import probe, report_path, write

MIB = 1024 * 1024
COLUMNS = ("actor", "pid", "python", "uptime", "cpu", "threads", "tasks", "objects", "rss", "fds")
UNKNOWN = "N/A"
STILL_RUNNING = "CPU profile still running"
NOT_RUNNING = "CPU profile not running"

_profile_lock = asyncio.Lock()
"""Starting and ending a profile concerns many processes, and must not be mixed with another client's."""


# --- figures


def runtime_row(found: Found, outside: Figures | None) -> Row:
    """One line of the table; what a process cannot tell itself is seen from outside."""
    process = found.process
    info = found.reply if isinstance(found.reply, RuntimeInfo) else None
    known = info or outside
    if known is None:
        return (process.actor, str(process.pid), *[UNKNOWN] * (len(COLUMNS) - 2))
    return (
        process.actor,
        str(process.pid),
        info.python if info else UNKNOWN,
        format_duration(known.uptime_s),
        format_duration(known.cpu_s),
        str(known.threads),
        str(info.tasks) if info else UNKNOWN,
        str(info.objects) if info else UNKNOWN,
        f"{known.rss_bytes / MIB:.1f}",
        str(known.fds),
    )


async def _table(call: Call) -> AsyncIterator[Group]:
    found = await ask_processes(call.engine, await running(call.engine), GetRuntime())
    outside = await asyncio.to_thread(_figures, found)
    rows = [runtime_row(one, seen) for one, seen in zip(found, outside, strict=True)]
    yield Group([Response(call.engine.host, header=COLUMNS, rows=rows)])


def _figures(found: Sequence[Found]) -> list[Figures | None]:
    return [figures(one.process.pid, with_pss=True) if isinstance(one.reply, str) else None for one in found]


# --- reports


def _heading(host: str, what: str) -> str:
    return f"{what} of the processes of minibus on {host}, {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC"


def _title(found: Found) -> str:
    return f"=== {found.process.actor} (pid {found.process.pid})"


def memory_part(found: Found, outside: Figures | None) -> str:
    """What the report says about one process."""
    use = found.reply if isinstance(found.reply, MemoryUse) else None
    known = use or outside
    lines = [_title(found)]
    if known is not None:
        sizes = (known.rss_bytes, known.pss_bytes, known.private_bytes)
        lines.append("rss {:.1f} MiB, pss {:.1f} MiB, private {:.1f} MiB".format(*(size / MIB for size in sizes)))
    if use is None:
        return "\n".join([*lines, f"(no more: {found.reply})"])
    lines.append("objects made since the process was forked, largest types first:")
    lines.append(f"{'bytes':>12} {'count':>10}  type")
    lines += [f"{kind.size_bytes:>12} {kind.count:>10}  {kind.name}" for kind in use.types]
    return "\n".join([*lines, *(["(there was no time to look at all objects)"] if use.partial else [])])


def stacks_part(found: Found, in_kernel: str) -> str:
    """What the report says about one process; of those that do not answer, where they are in the kernel."""
    if isinstance(found.reply, Stacks):
        return f"{_title(found)}\n{found.reply.text}"
    return f"{_title(found)}\n({found.reply})\n{in_kernel}"


async def _memory(call: Call) -> AsyncIterator[Group]:
    path = report_path(call.engine, call.args.text("file"))
    await probe(path)
    found = await ask_processes(call.engine, await running(call.engine), GetMemory())
    outside = await asyncio.to_thread(_figures, found)
    parts = [memory_part(one, seen) for one, seen in zip(found, outside, strict=True)]
    await write(path, _report(call, "Memory", parts))
    yield Group([Response(call.engine.host)])


async def _stacks(call: Call) -> AsyncIterator[Group]:
    path = report_path(call.engine, call.args.text("file"))
    await probe(path)
    found = await ask_processes(call.engine, await running(call.engine), GetStacks())
    silent = [kernel_stacks(one.process.pid) if isinstance(one.reply, str) else "" for one in found]
    parts = [stacks_part(one, in_kernel) for one, in_kernel in zip(found, silent, strict=True)]
    await write(path, _report(call, "Stacks", parts))
    yield Group([Response(call.engine.host)])


def _report(call: Call, what: str, parts: Sequence[str]) -> bytes:
    text = "\n\n".join([_heading(call.engine.host, what), *(part.rstrip() for part in parts)])
    return f"{text}\n".encode("utf-8", "replace")


# --- CPU profile


def pstats_table(profiles: Sequence[tuple[str, Profile]]) -> dict[Any, Any]:
    """The dictionary that `pstats` reads; the name of each file begins with that of the process."""
    table: dict[Any, Any] = {}
    for actor, profile in profiles:
        names = [(f"{actor}:{entry.file}", entry.line, entry.function) for entry in profile.entries]
        for name, entry in zip(names, profile.entries, strict=True):
            callers = {
                names[caller.entry]: (caller.calls, caller.primitive_calls, caller.own_s, caller.total_s)
                for caller in entry.callers
                if 0 <= caller.entry < len(names)
            }
            table[name] = (entry.primitive_calls, entry.calls, entry.own_s, entry.total_s, callers)
    return table


async def _start(call: Call) -> AsyncIterator[Group]:
    path = report_path(call.engine, call.args.text("file"))
    await probe(path)
    async with _profile_lock:
        found = await ask_processes(call.engine, await running(call.engine), StartProfile(file=str(path)))
        if any(one.reply == STILL_RUNNING for one in found):
            begun = [one.process for one in found if isinstance(one.reply, Ack)]
            await ask_processes(call.engine, begun, StopProfile())
            raise CommandError(STILL_RUNNING)
    yield Group([Response(call.engine.host, _missing(found))])


async def _stop(call: Call) -> AsyncIterator[Group]:
    async with _profile_lock:
        found = await ask_processes(call.engine, await running(call.engine), StopProfile())
        profiles = [(one.process.actor, one.reply) for one in found if isinstance(one.reply, Profile)]
        if not profiles:
            raise CommandError(NOT_RUNNING)
        await write(report_path(call.engine, profiles[0][1].file), marshal.dumps(pstats_table(profiles)))
    yield Group([Response(call.engine.host, _missing(found))])


def _missing(found: Sequence[Found]) -> str:
    """Those of which there is no profile though there should be."""
    return "\n".join(
        f"without {one.process.actor}: {'it was started meanwhile' if one.reply == NOT_RUNNING else one.reply}"
        for one in found
        if isinstance(one.reply, str) and one.process.actor not in SILENT
    )


# --- flags


def _flags(reply: Flags, args: Args) -> Answer:
    return Answer(header=("name", "value"), rows=sorted(reply.flags.items()))


COMMANDS = (
    Command(
        patterns=("debug",),
        help_short="figures about the processes of minibus on this host",
        help_long="""\
One row for each process. rss is in MiB; cpu is the processor time used so far.
What only a process itself could tell is N/A for node and warden, which are not
on the bus, and for one that does not answer.""",
        run=_table,
    ),
    Command(
        patterns=("debug <memory,> <file>",),
        help_short="write a report about the memory of the processes of minibus",
        help_long="A relative path begins in the file area.",
        run=_memory,
    ),
    Command(
        patterns=("debug <goroutine,> <file>",),
        help_short="write down where all threads and tasks of minibus are",
        help_long="""\
The stacks of every thread and asyncio task of every actor. Of node, warden and
processes that do not answer, where they are in the kernel. A relative path begins
in the file area.""",
        run=_stacks,
    ),
    Command(
        patterns=("debug <cpu,> <start,> <file>", "debug <cpu,> <stop,>"),
        help_short="measure where processor time goes in the processes of minibus",
        help_long="""\
Between start and stop all actors and the broker are measured, and run slower. The
file is written at the stop; read it with

	python3 -m pstats FILE

File names in it begin with the name of the process. A relative path begins in the
file area.""",
        run=lambda call: _start(call) if call.args.has("start") else _stop(call),
    ),
    Command(
        patterns=("args",),
        help_short="the flags that minibus was started with on this host",
        to="node",
        request=lambda args: GetFlags(),
        answer=_flags,
    ),
)
