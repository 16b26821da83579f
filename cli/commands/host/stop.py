"""`quit` and `nuke`: end the guests and the node, in order or by force."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator

from bus.errors import NotFoundError, UnreachableError
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.control import Nuke, StopNode
from bus.messages.namespace import DestroyNamespace, GetNamespaces
from cli.answers.response import Group, Response
from cli.commands.declare import LIFECYCLE_S, QUICK_S, Call, Command, CommandError, Engine
from cli.commands.network import ends as network_ends

MAX_DELAY_S = 7 * 24 * 3600


class ConnectionEnds(Exception):
    """There is no reply; the connection is closed instead."""


async def end_namespaces(engine: Engine) -> None:
    """End every namespace with all its guests; raises BusError, or CommandError if something of one stays."""
    known = await engine.ask("namespace", GetNamespaces(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)
    errors: list[str] = []
    for name in sorted({info.name for info in known.namespaces} | {DEFAULT_NAMESPACE}):
        with contextlib.suppress(NotFoundError):  # another client was faster
            report = await engine.ask("namespace", DestroyNamespace(), timeout_s=LIFECYCLE_S, namespace=name)
            errors += report.errors
    if errors:
        raise CommandError("\n".join(errors))


def parse_delay(text: str) -> int:
    """Seconds; raises CommandError."""
    if not (text.isascii() and text.isdecimal()) or int(text[:9]) > MAX_DELAY_S:
        raise CommandError(f"invalid delay `{text[:80]}`: expected 0 to {MAX_DELAY_S} seconds")
    return int(text[:9])


async def _quit(call: Call) -> AsyncIterator[Group]:
    delay_s = parse_delay(call.args.text("delay", "0"))
    if delay_s:
        call.engine.later(delay_s, functools.partial(_end_all, call.engine))
        yield Group([Response(call.engine.host, f"quitting after {delay_s} seconds")])
        return
    await _end_all(call.engine)
    raise ConnectionEnds


async def _end_all(engine: Engine) -> None:
    await end_namespaces(engine)
    with contextlib.suppress(UnreachableError):  # what has been given up must not keep the rest from ending
        if errors := await network_ends.end(engine, f"network@{engine.host}", ()):
            raise CommandError("\n".join(errors))
    await engine.ask("node", StopNode(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)


async def _nuke(call: Call) -> AsyncIterator[Group]:
    await call.engine.ask("node", Nuke(), timeout_s=QUICK_S, namespace=DEFAULT_NAMESPACE)
    raise ConnectionEnds
    yield  # it answers nothing, and is a generator all the same


COMMANDS = (
    Command(
        patterns=("quit [delay]",),
        help_short="end all VMs and stop",
        help_long="""\
Kills and flushes the VMs of all namespaces on this host, removes host taps, ends
all servers of dnsmasq, gives interfaces that are trunks back to the host, forgets
what was configured in the namespaces, and stops minibus, at once or after a delay
in seconds. To stop minibus and keep the guests, use `minibus
down`.""",
        run=_quit,
        recorded=False,
    ),
    Command(
        patterns=("nuke",),
        help_short="end everything by force",
        help_long="""\
Kills all processes of this minibus on this host, guests included, and removes
what they left and every record of them. The files of the file area and the logs
stay. There is no answer: the connection closes.

This is for a minibus that does not obey any more. `quit` is the orderly way,
and after a crash `minibus up` takes over running guests. If not even commands
are answered, use `minibus nuke`.""",
        run=_nuke,
        recorded=False,
    ),
)
