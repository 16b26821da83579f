"""`quit`: end the guests and the node."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.control import StopNode
from bus.messages.namespace import GetNamespaces
from bus.messages.vm import FlushVms, KillVms
from cli.commands.declare import LIFECYCLE_S, QUICK_S, Call, Command, CommandError, Engine
from cli.response import Group, Response

MAX_DELAY_S = 7 * 24 * 3600


class ConnectionEnds(Exception):
    """There is no reply; the connection is closed instead."""


async def end_guests(engine: Engine) -> None:
    """Kill and flush every VM of every namespace; raises BusError."""
    known = await engine.ask("namespace", GetNamespaces(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)
    for name in sorted({info.name for info in known.namespaces} | {DEFAULT_NAMESPACE}):
        for host in engine.hosts(name):
            await engine.ask(f"vm@{host}", KillVms(target="all"), timeout_s=LIFECYCLE_S, namespace=name)
            await engine.ask(f"vm@{host}", FlushVms(), timeout_s=LIFECYCLE_S, namespace=name)


def parse_delay(text: str) -> int:
    """Seconds; raises CommandError."""
    if not (text.isascii() and text.isdecimal()) or int(text[:9]) > MAX_DELAY_S:
        raise CommandError(f"invalid delay `{text[:80]}`: expected 0 to {MAX_DELAY_S} seconds")
    return int(text[:9])


async def _quit(call: Call) -> AsyncIterator[Group]:
    delay_s = parse_delay(call.args.text("delay", "0"))
    if delay_s:
        call.engine.later(delay_s, _end_all(call.engine))
        yield Group([Response(call.engine.host, f"quitting after {delay_s} seconds")])
        return
    await _end_all(call.engine)
    raise ConnectionEnds


async def _end_all(engine: Engine) -> None:
    await end_guests(engine)
    await engine.ask("node", StopNode(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)


COMMANDS = (
    Command(
        patterns=("quit [delay]",),
        help_short="end all VMs and stop",
        help_long="""\
Kills and flushes the VMs of all namespaces on this host and stops minibus, at
once or after a delay in seconds. To stop minibus and keep the guests, use
`minibus down`.""",
        run=_quit,
        recorded=False,
    ),
)
