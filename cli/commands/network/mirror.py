"""`tap mirror`: copies of what passes through one interface go to another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from bus.errors import NotFoundError
from bus.messages.base import WILDCARD
from bus.messages.network import ClearMirrors, GetInterfaces, GetMirrors, Interface, Mirrors, MirrorTap
from bus.messages.vm import GetVms, VmInfo
from cli.answers.response import Group, Response
from cli.commands.declare import QUICK_S, Answer, Args, Call, Command, CommandError, Scope
from cli.commands.network.qos import ALL, index_of

HEADER: Final = ("source", "destination")
MIRROR_S: Final = 60.0
"""It waits while the interfaces of a large launch are made."""


async def _mirror_vms(call: Call) -> AsyncIterator[Group]:
    """From one VM's interface to another's, on the host that has both."""
    words = ((call.args.text("vm"), call.args.text("index")), (call.args.text("vm2"), call.args.text("index2")))
    wanted = [(name, index_of(index, or_all=False)) for name, index in words]
    missing = ""
    for host in call.engine.hosts(call.session.namespace):
        vms = [await _vm(call, host, name) for name, _ in wanted]
        taps = []
        for vm, (name, index) in zip(vms, wanted, strict=True):
            if vm is None:
                missing = name
                break
            taps.append((await _interfaces(call, host, vm, index))[0].tap)
        else:
            request = MirrorTap(source=taps[0], destination=taps[1])
            await _ask(call, host, request)
            yield Group([Response(host)])
            return
    raise CommandError(f"vms are not colocated or invalid vm name: {missing[:80]}")


async def _clear_of_vm(call: Call) -> AsyncIterator[Group]:
    """End the mirrors to one interface of a VM, or to all."""
    name, index = call.args.text("vm"), index_of(call.args.text("index"))
    for host in call.engine.hosts(call.session.namespace):
        vm = await _vm(call, host, name)
        if vm is None:
            continue
        for interface in await _interfaces(call, host, vm, index):
            try:
                await _ask(call, host, ClearMirrors(destination=interface.tap))
            except NotFoundError:
                if index != ALL:
                    raise
        yield Group([Response(host)])
        return
    raise CommandError(f"vm not found: {name[:80]}")


async def _vm(call: Call, host: str, name: str) -> VmInfo | None:
    """The one VM of this name on a host."""
    namespace = call.session.namespace
    try:
        found = await call.engine.ask(f"vm@{host}", GetVms(target=name), timeout_s=QUICK_S, namespace=namespace)
    except NotFoundError:
        return None
    if len(found.vms) > 1:
        raise CommandError(f"say one VM, not {len(found.vms)} of them: {name[:80]}")
    return found.vms[0] if found.vms else None


async def _interfaces(call: Call, host: str, vm: VmInfo, index: int) -> tuple[Interface, ...]:
    """Those of a VM that an index means; raises CommandError."""
    namespace = call.session.namespace
    reply = await call.engine.ask(f"network@{host}", GetInterfaces(), timeout_s=QUICK_S, namespace=namespace)
    found = next((guest.interfaces for guest in reply.guests if guest.vm_id == vm.vm_id), ())
    if index == ALL:
        return found
    if index >= len(found):
        count = f"{len(found)} network{'' if len(found) == 1 else 's'}"
        raise CommandError(f"no network {index}, VM only has {count}: {vm.name}")
    return (found[index],)


async def _ask(call: Call, host: str, request: MirrorTap | ClearMirrors) -> None:
    await call.engine.ask(f"network@{host}", request, timeout_s=MIRROR_S, namespace=call.session.namespace)


def _mirror_tap(args: Args) -> MirrorTap:
    return MirrorTap(source=args.text("src"), destination=args.text("dst"), bridge=args.text("bridge"))


def mirror_list(reply: Mirrors, args: Args) -> Answer:
    """A row for each of Mirrors."""
    return Answer(header=HEADER, rows=[(one.source, one.destination) for one in reply.mirrors])


COMMANDS = (
    Command(
        patterns=("tap <mirror,>",),
        help_short="list mirrors",
        help_long="""\
What passes through one tap, in both directions, also comes out of another one, for
a program that watches. `tap mirror` alone lists which is copied to which in this
namespace.

	tap create WATCH name watch       a tap of the host, in a VLAN of its own
	tap mirror mega_tap3 watch        what `vm info` shows as tap, copied to it
	tap mirror server 0 sniffer 1     between interfaces of VMs
	clear tap mirror watch            ends it""",
        to="network",
        request=lambda args: GetMirrors(),
        answer=mirror_list,
    ),
    Command(
        patterns=("tap <mirror,> <src tap> <dst tap> [bridge]",),
        help_short="copy what passes through a tap to another one",
        help_long="""\
Everything that goes through the first tap, in both directions, also comes out of
the second one, which is on the same bridge. A tap is a host tap or what `vm info`
shows in the column tap:

	tap create WATCH name watch
	tap mirror mega_tap3 watch

A tap can be copied to several others, but only one can be copied to each. Mirrors
end with `clear tap mirror`, and with either tap.""",
        to="network",
        request=_mirror_tap,
        timeout_s=MIRROR_S,
        completers={"src": "tap", "dst": "tap"},
    ),
    Command(
        patterns=("tap <mirror,> <vm> <index> <vm2> <index2>",),
        help_short="copy what passes through an interface of a VM to that of another VM",
        help_long="""\
Both VMs are on the same host, their interfaces on the same bridge:

	tap mirror server 0 sniffer 1""",
        scope=Scope.TARGETED,
        run=_mirror_vms,
        completers={"vm": "vm", "vm2": "vm"},
    ),
    Command(
        patterns=("clear tap <mirror,> [dst tap]",),
        help_short="end mirrors",
        help_long="The one that ends in this tap, or all of the namespace.",
        to="network",
        request=lambda args: ClearMirrors(destination=args.text("dst")),
        timeout_s=MIRROR_S,
        completers={"dst": "tap"},
    ),
    Command(
        patterns=(f"clear tap <mirror,> <vm> <index or {WILDCARD}>",),
        help_short="end mirrors to interfaces of a VM",
        help_long="The one that ends in this interface, or those that end in any of the VM.",
        scope=Scope.TARGETED,
        run=_clear_of_vm,
        completers={"vm": "vm"},
    ),
)
