"""`viz`: the VMs of a namespace and their VLANs as a graph."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator

from bus.messages.vm import GetVms, VmInfo, VmState
from cli.commands.declare import QUICK_S, Call, Command, CommandError, Scope
from cli.commands.vm_rows import COLUMNS
from cli.response import Group, Response
from cli.written_file import WriteError, write_file, written_text

COLOURS = {
    VmState.BUILDING: "yellow",
    VmState.RUNNING: "green",
    VmState.PAUSED: "yellow",
    VmState.QUIT: "blue",
    VmState.ERROR: "red",
}
_VLAN = re.compile(r"(?:[^,]*\()?([0-9]+)\)?")


def quoted(text: str) -> str:
    """A name in quotes, out of which it cannot get (https://graphviz.org/doc/info/lang.html).

    A backslash is doubled: in labels some letters after one mean something, and a last one would take the quote.
    """
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\r", "\\r"), ("\n", "\\n"), ("\0", "")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def vlan_numbers(cell: str) -> list[str]:
    """The numbers in the column `vlan` of `vm info`, e.g. 101 and 200 of `[LAN (101), 200]`."""
    found = map(_VLAN.fullmatch, cell.strip("[]").split(", "))
    return [match[1] for match in found if match]


def graph(vms: Iterable[VmInfo]) -> str:
    """The graph in the language of Graphviz: VMs in the colour of their state, VLANs, an edge for each interface."""
    return "\n".join(["graph minimega {", 'size="8,11";', "overlap=false;", *_lines(vms), "}"])


def _lines(vms: Iterable[VmInfo]) -> Iterator[str]:
    for vm in vms:
        fields = (vm.host, vm.name, str(vm.vm_id), COLUMNS["ip"](vm), COLUMNS["ip6"](vm))
        node = quoted(":".join(fields))
        yield f"{node} [style=filled, color={COLOURS[vm.state]}];"
        for number in vlan_numbers(COLUMNS["vlan"](vm)):
            yield f"{node} -- {number}"
            yield f"{number};"


async def _viz(call: Call) -> AsyncIterator[Group]:
    namespace = call.session.namespace
    asks = (
        call.engine.ask(f"vm@{host}", GetVms(), timeout_s=QUICK_S, namespace=namespace)
        for host in call.engine.hosts(namespace)
    )
    vms = [vm for reply in await asyncio.gather(*asks) for vm in reply.vms]
    path = call.args.text("filename")
    try:
        written = await asyncio.to_thread(lambda: write_file(path, graph(vms).encode("utf-8", "replace")))
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
