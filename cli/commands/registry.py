"""All commands. A new domain is a module with `COMMANDS` and a name in `DOMAINS`."""

from __future__ import annotations

from cli.commands import (
    bridges,
    cc,
    cc_posting,
    cc_responses,
    cc_tunnels,
    debugging,
    environment,
    everything,
    files,
    general,
    graph,
    host,
    logs,
    namespace,
    namespace_hosts,
    output,
    pipes,
    plumb,
    programs,
    schedules,
    script,
    stop,
    taps,
    vlans,
    vm,
    vm_config,
    vm_net,
)
from cli.commands.declare import Command

DOMAINS = (
    output,
    environment,
    general,
    programs,
    logs,
    debugging,
    host,
    files,
    namespace,
    namespace_hosts,
    schedules,
    pipes,
    plumb,
    cc,
    cc_posting,
    cc_responses,
    cc_tunnels,
    graph,
    script,
    everything,
    stop,
    vm,
    vm_config,
    vm_net,
    vlans,
    taps,
    bridges,
)
"""The modules with commands, in the order of the reference page."""

COMMANDS: tuple[Command, ...] = tuple(command for domain in DOMAINS for command in domain.COMMANDS)
