"""All commands. A new domain is a module with `COMMANDS` and a line here."""

from __future__ import annotations

from cli.commands import general, host, namespace, output, script, stop, vm, vm_config
from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = (
    *output.COMMANDS,
    *general.COMMANDS,
    *host.COMMANDS,
    *namespace.COMMANDS,
    *script.COMMANDS,
    *stop.COMMANDS,
    *vm.COMMANDS,
    *vm_config.COMMANDS,
)
