"""`viz`: the VMs of a namespace and their VLANs as a graph."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from bus.errors import BusError
from bus.messages.network import GetInterfaces
from bus.messages.vlan import DISCONNECTED
from bus.messages.vm import GetVms, VmInfo, VmState
from cli.answers.response import Group, Response
from cli.commands.declare import QUICK_S, Call, Command, CommandError, Scope
from cli.commands.vm.rows import Interfaces, interface_columns, known_interfaces
from cli.commands.written_file import WriteError, write_file, written_text

COLOURS = {
    VmState.BUILDING: "yellow",
    VmState.RUNNING: "green",
    VmState.PAUSED: "yellow",
    VmState.QUIT: "blue",
    VmState.ERROR: "red",
}


def quoted(text: str) -> str:
    """A name in quotes, out of which it cannot get (https://graphviz.org/doc/info/lang.html).

    A backslash is doubled: in labels some letters after one mean something, and a last one would take the quote.
    """
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\r", "\\r"), ("\n", "\\n"), ("\0", "")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def graph(lines: Iterable[str]) -> str:
    """The graph in the language of Graphviz."""
    return "\n".join(["graph minimega {", 'size="8,11";', "overlap=false;", *lines, "}"])


def edges(vms: Iterable[VmInfo], interfaces: Interfaces) -> Iterator[str]:
    """VMs in the colour of their state, their VLANs, an edge for each interface."""
    columns = interface_columns(interfaces, {})
    for vm in vms:
        fields = (vm.host, vm.name, str(vm.vm_id), columns["ip"](vm), columns["ip6"](vm))
        node = quoted(":".join(fields))
        yield f"{node} [style=filled, color={COLOURS[vm.state]}];"
        for interface in interfaces(vm):
            if interface.vlan != DISCONNECTED:
                yield f"{node} -- {interface.vlan}"
                yield f"{interface.vlan};"


async def _of_host(call: Call, host: str, namespace: str) -> tuple[Sequence[VmInfo], Interfaces]:
    """The VMs of one host; without an answer about their interfaces those count as configured."""
    found, listed = await asyncio.gather(
        call.engine.ask(f"vm@{host}", GetVms(), timeout_s=QUICK_S, namespace=namespace),
        call.engine.ask(f"network@{host}", GetInterfaces(), timeout_s=QUICK_S, namespace=namespace),
        return_exceptions=True,
    )
    if isinstance(found, BaseException):
        raise found
    if isinstance(listed, BaseException) and not isinstance(listed, BusError):
        raise listed
    return found.vms, known_interfaces(None if isinstance(listed, BaseException) else listed)


async def _viz(call: Call) -> AsyncIterator[Group]:
    namespace = call.session.namespace
    hosts = call.engine.hosts(namespace)
    found = await asyncio.gather(*(_of_host(call, host, namespace) for host in hosts))
    lines = [line for vms, interfaces in found for line in edges(vms, interfaces)]
    path = call.args.text("filename")
    try:
        written = await asyncio.to_thread(lambda: write_file(path, graph(lines).encode("utf-8", "replace")))
    except WriteError as error:
        raise CommandError(str(error)) from error
    yield Group([Response(call.engine.host, written_text(path, written))])


COMMANDS = (
    Command(
        patterns=("viz <filename>",),
        help_short="write the VMs of the namespace and their VLANs as a graph",
        help_long="""\
Writes a file for Graphviz on the host that minibus runs on: VMs in the colour of
their state, VLANs, and an edge for each interface. To make a picture of it:

	neato -Tsvg FILE > picture.svg

A relative name starts in the directory that minibus was started in, which is /
after `minibus up --detach`; the answer says where the file is.""",
        scope=Scope.SPECIAL,
        run=_viz,
    ),
)
