"""Commands on the VMs of a target that another actor than `vm` carries out: which VMs are meant, host by host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from bus.errors import BusError
from bus.messages.network import GuestNic, InterfaceReport, Netspec
from bus.messages.vm import GetVms, VmInfo
from cli.answers.response import NOT_FOUND, Group, Response, without_misses
from cli.commands.declare import QUICK_S, Answer, Call, CommandError, report

Act = Callable[[str, Sequence[VmInfo]], Awaitable[Answer]]
"""What is done with the VMs of one host; raises BusError or CommandError."""


async def on_targets(call: Call, act: Act, key: str = "target") -> Group:
    """Do something with the VMs that an argument means, on every host that has some."""
    hosts = call.engine.hosts(call.session.namespace)
    responses = await asyncio.gather(*(_on_host(call, host, call.args.text(key), act) for host in hosts))
    return Group(without_misses(list(responses)))


async def _on_host(call: Call, host: str, target: str, act: Act) -> Response:
    request = GetVms(target=target)
    namespace = call.session.namespace
    try:
        found = await call.engine.ask(f"vm@{host}", request, timeout_s=QUICK_S, namespace=namespace)
        answer = await act(host, found.vms) if found.vms else Answer()
    except (BusError, CommandError) as error:
        return Response(host, error=str(error))
    errors = [*filter(None, (answer.error,)), *(f"{NOT_FOUND}{name}" for name in found.missing)]
    return Response(host, answer.text, answer.header, answer.rows, "\n".join(errors), answer.data)


def nic_of(vm: VmInfo) -> GuestNic:
    """A VM as the actor `network` is told of it."""
    return GuestNic(vm_id=vm.vm_id, name=vm.name, namespace=vm.namespace, pid=vm.pid)


def further(vm: VmInfo, networks: Sequence[Netspec]) -> GuestNic:
    """A VM that is to have these interfaces besides those that it has."""
    return msgspec.structs.replace(nic_of(vm), networks=tuple(networks), configured=vm.config.networks)


def interface_report(reply: InterfaceReport, call: Call) -> Answer:
    """What went wrong, and what the kernel could not do."""
    return report(reply, call.args)
