"""Completes lines: words from the grammar, names of what exists from their owners."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from bus.errors import BusError
from bus.messages.base import WILDCARD, Message, Request
from bus.messages.namespace import GetNamespaces, GetSavedConfigs
from bus.messages.vm import GetVmNames
from cli.commands.declare import Command
from cli.grammar.completion import lines, wanted
from cli.grammar.matcher import Grammar

R = TypeVar("R", bound=Message)

SUGGEST_S = 2.0
"""How long a completion may take; without an answer there are fewer suggestions, and no error."""


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


async def _namespaces(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("namespace", GetNamespaces(), timeout_s=SUGGEST_S, namespace=namespace)
    return [info.name for info in reply.namespaces]


async def _saved_configs(asker: Asker, namespace: str) -> Sequence[str]:
    reply = await asker.ask("namespace", GetSavedConfigs(), timeout_s=SUGGEST_S, namespace=namespace)
    return reply.names


SOURCES: dict[str, Callable[[Asker, str], Awaitable[Sequence[str]]]] = {
    "vm": _vms,
    "vm_target": _vm_targets,
    "namespace": _namespaces,
    "saved_config": _saved_configs,
}
"""What a command's `completers` may name."""


async def suggest(asker: Asker, grammar: Grammar[Command], text: str, namespace: str) -> list[str]:
    """Complete replacement lines for a line that is being typed, sorted."""
    want = wanted(grammar, text)
    found = list(want.words)
    kinds = {command.completers[key] for command, key in want.values if key in command.completers}
    for kind in sorted(kinds):
        try:
            found.extend(name for name in await SOURCES[kind](asker, namespace) if name.startswith(want.partial))
        except BusError:
            continue
    return lines(want.head, found)
