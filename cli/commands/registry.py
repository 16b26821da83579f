"""All commands. A new domain is a module with `COMMANDS` and a line here."""

from __future__ import annotations

from cli.commands import (
    debugging,
    environment,
    everything,
    general,
    graph,
    host,
    logs,
    namespace,
    output,
    programs,
    script,
    stop,
    vm,
    vm_config,
)
from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = (
    *output.COMMANDS,
    *environment.COMMANDS,
    *general.COMMANDS,
    *programs.COMMANDS,
    *logs.COMMANDS,
    *debugging.COMMANDS,
    *host.COMMANDS,
    *namespace.COMMANDS,
    *graph.COMMANDS,
    *script.COMMANDS,
    *everything.COMMANDS,
    *stop.COMMANDS,
    *vm.COMMANDS,
    *vm_config.COMMANDS,
)
