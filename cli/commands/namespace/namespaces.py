"""Namespaces: which one a connection acts in, and the launch queue of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from bus.errors import BusError, ConflictError
from bus.language.ranges import fold
from bus.language.vm_config import layout
from bus.language.vm_names import MAX_NAME, is_valid
from bus.messages.base import DEFAULT_NAMESPACE, WILDCARD
from bus.messages.namespace import (
    Batch,
    DestroyNamespace,
    FlushQueue,
    GetNamespaces,
    GetQueue,
    NamespaceInfo,
    OpenNamespace,
    SetQueueing,
)
from bus.messages.vlan import GetVlans, VlanTable
from bus.settings.vlan_range import format_range
from cli.answers.response import Group, Response, Row
from cli.commands.declare import LIFECYCLE_S, QUICK_S, Answer, Args, Both, Call, Command, CommandError, Scope
from cli.commands.network.vlan_names import VLANS, labels

AT_ONCE = 8
"""Namespaces that are destroyed at the same time."""


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


def namespace_rows(namespaces: Sequence[NamespaceInfo], active: str, vlans: VlanTable) -> list[Row]:
    """Rows of `namespace`; the active one is listed even if somebody has destroyed it."""
    names = sorted({info.name for info in namespaces} | {DEFAULT_NAMESPACE, active})
    own = {name: format_range(each.minimum, each.maximum) for name, each in vlans.ranges.items()}
    return [(name, own.get(name, ""), "true" if name == active else "false") for name in names]


async def _namespaces(call: Call) -> Sequence[NamespaceInfo]:
    reply = await call.engine.ask("namespace", GetNamespaces(), timeout_s=QUICK_S, namespace=call.session.namespace)
    return reply.namespaces


async def _open(call: Call, name: str) -> None:
    """Make a namespace unless it is there; raises BusError."""
    await call.engine.ask("namespace", OpenNamespace(), timeout_s=QUICK_S, namespace=name)


async def _namespace(call: Call) -> AsyncIterator[Group]:
    host, session = call.engine.host, call.session
    if not call.args.has("name"):
        known = await _namespaces(call)
        vlans = await call.engine.ask("namespace", GetVlans(), timeout_s=QUICK_S, namespace=session.namespace)
        rows = namespace_rows(known, session.namespace, vlans)
        yield Group([Response(host, header=("namespace", "vlans", "active"), rows=rows)])
        return
    name = check_name(call.args.text("name"))
    if call.match.nested is None:
        await _open(call, name)
        session.namespace = name
        yield Group([Response(host)])
        return
    with contextlib.suppress(ConflictError):  # one that is being destroyed can still be looked at
        await _open(call, name)
    with session.within(name):
        async for group in call.engine.run(call.match.nested, session):
            yield group


async def _clear_namespace(call: Call) -> AsyncIterator[Group]:
    errors: Sequence[str] = ()
    if call.args.has(WILDCARD):
        errors = await _destroy_all(call)
    elif call.args.has("name"):
        errors = await _destroy(call, check_name(call.args.text("name")))
    else:
        call.session.namespace = DEFAULT_NAMESPACE
    yield Group([Response(call.engine.host, error="\n".join(errors))])


async def _destroy_all(call: Call) -> Sequence[str]:
    names = sorted({info.name for info in await _namespaces(call)} | {DEFAULT_NAMESPACE})
    turns = asyncio.Semaphore(AT_ONCE)

    async def destroy(name: str) -> Iterable[str]:
        async with turns:
            try:
                return await _destroy(call, name)
            except BusError as error:
                return [str(error)]

    found = await asyncio.gather(*map(destroy, names))
    return [f"{name}: {error}" for name, errors in zip(names, found, strict=True) for error in errors]


async def _destroy(call: Call, name: str) -> Sequence[str]:
    """What went wrong; if nothing did, the session is no longer in that namespace. Raises BusError."""
    report = await call.engine.ask("namespace", DestroyNamespace(), timeout_s=LIFECYCLE_S, namespace=name)
    if not report.errors:
        call.session.forget(name)
    return report.errors


async def _queueing(call: Call) -> AsyncIterator[Group]:
    name, text = call.session.namespace, ""
    if chosen := call.args.chosen("true", "false"):
        request = SetQueueing(queueing=chosen == "true")
        await call.engine.ask("namespace", request, timeout_s=QUICK_S, namespace=name)
    else:
        text = str(any(info.name == name and info.queueing for info in await _namespaces(call))).lower()
    yield Group([Response(call.engine.host, text)])


def _batch_text(batch: Batch, vlans: Mapping[int, str]) -> str:
    names = fold(name for name in batch.names if name)
    head = [f"VMs: {len(batch.names)}", f"Names: {names}", f"VM Type: {batch.kind.value}", ""]
    return "\n".join([*head, layout(batch.config, labels=vlans), ""])


def queue_text(both: Both, args: Args) -> Answer:
    """Each batch of a Queue: how many, which, of what kind, with what configuration."""
    vlans = labels(both.also)
    return Answer("\n".join(_batch_text(batch, vlans) for batch in both.reply.batches))


COMMANDS = (
    Command(
        patterns=("namespace", "namespace <name>", "namespace <name> (command)"),
        help_short="list namespaces, act in one, or run a command in one",
        help_long="""\
Without a name, lists all namespaces and says which of them this connection acts
in. With a name, everything that this connection does from now on happens in that
namespace, which is made if there is none of that name. Other connections are not
affected.

The VLANs that are shown are the numbers that names of VLANs get there, if the
namespace has a range of its own (`vlans range`).

With a command, only that command happens there:

	namespace exp1 vm info

A namespace that somebody destroys meanwhile is made again, empty, by the next
command that changes something in it.""",
        scope=Scope.SPECIAL,
        run=_namespace,
        completers={"name": "namespace"},
    ),
    Command(
        patterns=("clear namespace", "clear namespace <name>", f"clear namespace <{WILDCARD},>"),
        help_short="act in the default namespace again, or destroy a namespace or all",
        help_long="""\
Without a name, this connection acts in the default namespace again; nothing is
destroyed.

With a name, ends all pipelines, pipes, VMs and host taps of that namespace and
forgets its configurations, its queue and its VLANs. Files stay. The default
namespace is only emptied. If this connection acts in the namespace, it acts in
the default one from then on.

What could not be ended is an error, and the namespace stays until it is cleared
again. One in which VMs are being launched is not cleared.""",
        scope=Scope.SPECIAL,
        run=_clear_namespace,
        completers={"name": "namespace"},
    ),
    Command(
        patterns=("ns queueing [true,false]",),
        help_short="show or change whether launches are queued",
        help_long="While it is on, `vm launch KIND NAMES` only queues VMs; `vm launch` launches what is queued.",
        run=_queueing,
    ),
    Command(
        patterns=("ns queue",),
        help_short="show the VMs that wait to be launched",
        to="namespace",
        request=lambda args: GetQueue(),
        answer=queue_text,
        also=VLANS,
    ),
    Command(
        patterns=("ns flush",),
        help_short="forget the VMs that wait to be launched",
        to="namespace",
        request=lambda args: FlushQueue(),
    ),
)
