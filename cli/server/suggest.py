"""Completes lines: words from the grammar, names of what exists from their owners, then variables and files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from bus.errors import BusError
from bus.language.netspec import DRIVERS, SEPARATOR
from bus.messages.base import WILDCARD, Message, Request
from bus.messages.cc import GetCommands
from bus.messages.dnsmasq import GetDnsmasqs
from bus.messages.files import MatchFiles
from bus.messages.host import GetJobs
from bus.messages.namespace import GetNamespaces, GetSavedConfigs
from bus.messages.network import DEFAULT_BRIDGE, GetBridges, GetHostTaps, GetInterfaces
from bus.messages.pipe import GetPipes
from bus.messages.pipeline import GetPipelines
from bus.messages.vlan import GetVlans
from bus.messages.vm import GetVmNames, GetVms, VmState
from cli.commands.declare import Command
from cli.grammar.completion import lines, wanted
from cli.grammar.matcher import Grammar
from cli.grammar.quoting import quote
from cli.session.session import Session
from cli.session.substitution import FILE, environment

R = TypeVar("R", bound=Message)

SUGGEST_S = 2.0
"""How long a completion may take; without an answer there are fewer suggestions, and no error."""
MAX_FILES = 1_000


class Asker(Protocol):
    """What completion needs of the engine."""

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError."""
        ...

    def hosts(self, namespace: str) -> tuple[str, ...]:
        """The hosts that a namespace is made of."""
        ...


async def _vms(asker: Asker, namespace: str) -> Sequence[str]:
    names: list[str] = []
    for host in asker.hosts(namespace):
        reply = await asker.ask(f"vm@{host}", GetVmNames(), timeout_s=SUGGEST_S, namespace=namespace)
        names.extend(reply.uuids)
    return names


async def _vm_targets(asker: Asker, namespace: str) -> Sequence[str]:
    return [*await _vms(asker, namespace), WILDCARD]


async def _running_targets(asker: Asker, namespace: str) -> Sequence[str]:
    return [name for name, state in await _states(asker, namespace) if state is VmState.RUNNING] + [WILDCARD]


async def _startable_targets(asker: Asker, namespace: str) -> Sequence[str]:
    return [name for name, state in await _states(asker, namespace) if state is not VmState.RUNNING] + [WILDCARD]


async def _states(asker: Asker, namespace: str) -> Sequence[tuple[str, VmState]]:
    states: list[tuple[str, VmState]] = []
    for host in asker.hosts(namespace):
        reply = await asker.ask(f"vm@{host}", GetVms(), timeout_s=SUGGEST_S, namespace=namespace)
        states.extend((vm.name, vm.state) for vm in reply.vms)
    return states


async def _namespaces(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("namespace", GetNamespaces(), timeout_s=SUGGEST_S, namespace=namespace)
    return [info.name for info in reply.namespaces]


async def _saved_configs(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("namespace", GetSavedConfigs(), timeout_s=SUGGEST_S, namespace=namespace)
    return reply.names


async def _jobs(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("host", GetJobs(), timeout_s=SUGGEST_S, namespace=namespace)
    return [str(info.job_id) for info in reply.jobs]


async def _job_targets(asker: Asker, namespace: str) -> Sequence[str]:
    return [*await _jobs(asker, namespace), WILDCARD]


async def _pipelines(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("plumber", GetPipelines(), timeout_s=SUGGEST_S, namespace=namespace)
    return [info.name for info in reply.pipelines]


async def _pipes(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("plumber", GetPipes(), timeout_s=SUGGEST_S, namespace=namespace)
    return [info.name for info in reply.pipes]


async def _cc_commands(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("cc", GetCommands(), timeout_s=SUGGEST_S, namespace=namespace)
    return [str(info.id) for info in reply.commands]


async def _cc_targets(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("cc", GetCommands(), timeout_s=SUGGEST_S, namespace=namespace)
    prefixes = {info.prefix for info in reply.commands if info.prefix}
    return [*(str(info.id) for info in reply.commands), *sorted(prefixes), WILDCARD]


async def _vlans(asker: Asker, namespace: str) -> Sequence[str]:
    own = f"{namespace}{SEPARATOR}"
    reply = await asker.ask("namespace", GetVlans(), timeout_s=SUGGEST_S, namespace=namespace)
    return [name.removeprefix(own) for name in reply.aliases]


async def _vlan_prefixes(asker: Asker, namespace: str) -> Sequence[str]:
    return [*await _vlans(asker, namespace), WILDCARD]


async def _bridges(asker: Asker, namespace: str) -> Sequence[str]:
    names = {DEFAULT_BRIDGE}
    for host in asker.hosts(namespace):
        reply = await asker.ask(f"network@{host}", GetBridges(), timeout_s=SUGGEST_S, namespace=namespace)
        names.update(bridge.name for bridge in reply.bridges)
    return sorted(names)


async def _trunks(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("network", GetBridges(), timeout_s=SUGGEST_S, namespace=namespace)
    return [name for bridge in reply.bridges for name in bridge.trunks]


async def _host_taps(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("network", GetHostTaps(), timeout_s=SUGGEST_S, namespace=namespace)
    return [tap.name for tap in reply.taps]


async def _host_tap_targets(asker: Asker, namespace: str) -> Sequence[str]:
    return [*await _host_taps(asker, namespace), WILDCARD]


async def _dnsmasqs(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("network", GetDnsmasqs(), timeout_s=SUGGEST_S, namespace=namespace)
    return [*(str(one.id) for one in reply.servers), WILDCARD]


async def _taps(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("network", GetInterfaces(), timeout_s=SUGGEST_S, namespace=namespace)
    of_guests = [interface.tap for guest in reply.guests for interface in guest.interfaces]
    return [*await _host_taps(asker, namespace), *of_guests]


async def _netspecs(asker: Asker, session: Session, partial: str) -> Sequence[str]:
    """The last field of a netspec: VLANs first and second, bridges first, drivers later."""
    head, comma, _ = partial.rpartition(",")
    fields: list[str] = list(DRIVERS) if comma else []
    if head.count(",") == 0:
        fields.extend(await _names("vlan", asker, session, partial))
    if not comma:
        fields.extend(await _names("bridge", asker, session, partial))
    return [f"{head}{comma}{field}" for field in fields]


SOURCES: dict[str, Callable[[Asker, str], Awaitable[Sequence[str]]]] = {
    "vm": _vms,
    "vm_target": _vm_targets,
    "running_target": _running_targets,
    "startable_target": _startable_targets,
    "namespace": _namespaces,
    "saved_config": _saved_configs,
    "job": _jobs,
    "job_target": _job_targets,
    "pipe": _pipes,
    "pipeline": _pipelines,
    "cc_command": _cc_commands,
    "cc_target": _cc_targets,
    "vlan": _vlans,
    "vlan_prefix": _vlan_prefixes,
    "bridge": _bridges,
    "trunk": _trunks,
    "tap": _taps,
    "dnsmasq": _dnsmasqs,
    "host_tap": _host_taps,
    "host_tap_target": _host_tap_targets,
}
"""What a command's `completers` may name, beside `netspec`, `area_file`, `path`, `alias` and `command`."""


async def suggest(asker: Asker, grammar: Grammar[Command], text: str, session: Session) -> list[str]:
    """Complete replacement lines for a line that is being typed, sorted."""
    want = wanted(grammar, text, session.aliases)
    found = list(want.words)
    kinds = {command.completers.get(key, "") for command, key in want.values}
    namespaces = [value for command, key, value in want.around if command.completers.get(key) == "namespace"]
    with session.within((session.namespace, *namespaces)[-1]):
        for kind in sorted(kinds - {""}):
            names = await _names(kind, asker, session, want.partial)
            found.extend(name for name in names if name.startswith(want.partial))
    if "command" in kinds:
        inner = wanted(grammar, "".join(f"{quote(word)} " for word in want.given)).words
        found.extend(word for word in inner if word.startswith(want.partial))
    if not found and want.partial:
        found = await _anything(asker, session, want.partial, files="" in kinds)
    return lines(want.head, found)


async def _names(kind: str, asker: Asker, session: Session, partial: str) -> Sequence[str]:
    try:
        match kind:
            case "path" if partial.startswith("/"):  # a relative one starts in the file area
                return await asyncio.to_thread(host_files, partial)
            case "area_file" | "path":
                return await _area_files(asker, session, partial)
            case "netspec":
                return await _netspecs(asker, session, partial)
            case "alias":
                return list(session.aliases)
            case "command":
                return ()
            case _:
                return await SOURCES[kind](asker, session.namespace)
    except BusError:
        return ()


async def _area_files(asker: Asker, session: Session, prefix: str) -> Sequence[str]:
    reply = await asker.ask("files", MatchFiles(prefix=prefix), timeout_s=SUGGEST_S, namespace=session.namespace)
    return reply.names


async def _anything(asker: Asker, session: Session, partial: str, *, files: bool) -> list[str]:
    """What may stand in any argument: a variable, a file of the file area, and where text is expected any file."""
    if partial.startswith("$"):
        return [f"${name}" for name in environment(session.environment) if f"${name}".startswith(partial)]
    if partial.startswith(FILE):
        names = await _names("area_file", asker, session, partial[len(FILE) :])
        return [FILE + name for name in names]
    return await asyncio.to_thread(host_files, partial) if files else []


def host_files(partial: str) -> list[str]:
    """Paths of this host that begin so, one level of directories; relative ones from where the server runs."""
    directory, slash, name = partial.rpartition("/")
    found: list[str] = []
    try:
        with os.scandir(directory + slash or ".") as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and not name.startswith(".")
                if entry.name.startswith(name) and not hidden:
                    found.append(f"{directory}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
                    if len(found) == MAX_FILES:
                        break
    except (OSError, ValueError):
        return []
    return sorted(found)
