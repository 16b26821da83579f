"""Namespaces: which one a connection acts in, and the launch queue of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from bus.messages.base import DEFAULT_NAMESPACE, WILDCARD, Request
from bus.messages.namespace import Batch, FlushQueue, GetNamespaces, GetQueue, NamespaceInfo, Queue, SetQueueing
from bus.ranges import fold
from bus.vm_config import layout
from bus.vm_names import MAX_NAME, is_valid
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, CommandError, Scope
from cli.response import Group, Response, Row

DEFAULT_VLANS = "101-4096"
"""VLANs of the default namespace, as `namespace` shows them."""


def check_name(name: str) -> str:
    """The name, if a namespace may be called so; raises CommandError."""
    if not name:
        raise CommandError("namespace name cannot be the empty string")
    if name == WILDCARD:
        raise CommandError(f"invalid namespace name, `{WILDCARD}` is a reserved word")
    if not is_valid(name):
        allowed = f"1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
        raise CommandError(f"invalid namespace name, `{name[:MAX_NAME]}` is not {allowed}")
    return name


def namespace_rows(namespaces: Sequence[NamespaceInfo], active: str) -> list[Row]:
    """Rows of `namespace`; the active one is listed even before anything happened in it."""
    names = sorted({info.name for info in namespaces} | {DEFAULT_NAMESPACE, active})
    return [
        (name, DEFAULT_VLANS if name == DEFAULT_NAMESPACE else "", "true" if name == active else "false")
        for name in names
    ]


async def _namespaces(call: Call) -> Sequence[NamespaceInfo]:
    reply = await call.engine.ask("namespace", GetNamespaces(), timeout_s=QUICK_S, namespace=call.session.namespace)
    return reply.namespaces


async def _list(call: Call) -> AsyncIterator[Group]:
    rows = namespace_rows(await _namespaces(call), call.session.namespace)
    yield Group([Response(call.engine.host, header=("namespace", "vlans", "active"), rows=rows)])


async def _switch(call: Call) -> AsyncIterator[Group]:
    call.session.namespace = check_name(call.args.text("name"))
    yield Group([Response(call.engine.host)])


async def _run_in(call: Call) -> AsyncIterator[Group]:
    with call.session.within(check_name(call.args.text("name"))):
        async for group in call.engine.run(call.nested, call.session):
            yield group


async def _leave(call: Call) -> AsyncIterator[Group]:
    call.session.namespace = DEFAULT_NAMESPACE
    yield Group([Response(call.engine.host)])


async def _hosts(call: Call) -> AsyncIterator[Group]:
    yield Group([Response(call.engine.host, ",".join(call.engine.hosts(call.session.namespace)))])


async def _queueing(call: Call) -> AsyncIterator[Group]:
    name = call.session.namespace
    queueing = any(info.name == name and info.queueing for info in await _namespaces(call))
    yield Group([Response(call.engine.host, "true" if queueing else "false")])


def _set_queueing(args: Args) -> Request[Any]:
    return SetQueueing(queueing=args.has("true"))


def _batch_text(batch: Batch) -> str:
    names = fold(name for name in batch.names if name)
    head = [f"VMs: {len(batch.names)}", f"Names: {names}", f"VM Type: {batch.kind.value}", ""]
    return "\n".join([*head, layout(batch.config), ""])


def queue_text(reply: Queue, args: Args) -> Answer:
    """Each batch: how many, which, of what kind, with what configuration."""
    return Answer("\n".join(_batch_text(batch) for batch in reply.batches))


COMMANDS = (
    Command(
        patterns=("namespace",),
        help_short="list namespaces",
        help_long="Shows all namespaces, and which of them this connection acts in.",
        run=_list,
    ),
    Command(
        patterns=("namespace <name>",),
        help_short="act in a namespace",
        help_long="""\
Everything that this connection does from now on happens in that namespace. It
comes into being with the first thing that happens in it. Other connections are
not affected.""",
        run=_switch,
        completers={"name": "namespace"},
    ),
    Command(
        patterns=("namespace <name> (command)",),
        help_short="run one command in a namespace",
        help_long="Runs the command there; the namespace of this connection stays what it was.",
        scope=Scope.SPECIAL,
        run=_run_in,
        completers={"name": "namespace"},
    ),
    Command(
        patterns=("clear namespace",),
        help_short="act in the default namespace again",
        run=_leave,
    ),
    Command(
        patterns=("ns hosts",),
        help_short="list the hosts of the namespace",
        run=_hosts,
    ),
    Command(
        patterns=("ns queueing",),
        help_short="show whether launches are queued",
        run=_queueing,
    ),
    Command(
        patterns=("ns queueing <true,false>",),
        help_short="queue launches, or launch at once",
        help_long="While it is on, `vm launch KIND NAMES` only queues VMs; `vm launch` launches what is queued.",
        to="namespace",
        request=_set_queueing,
    ),
    Command(
        patterns=("ns queue",),
        help_short="show the VMs that wait to be launched",
        to="namespace",
        request=lambda args: GetQueue(),
        answer=queue_text,
    ),
    Command(
        patterns=("ns flush",),
        help_short="forget the VMs that wait to be launched",
        to="namespace",
        request=lambda args: FlushQueue(),
    ),
)
