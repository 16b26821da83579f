"""All commands. A new domain is a module with `COMMANDS` in the folder of its chapter, and a name in `DOMAINS`."""

from __future__ import annotations

from cli.commands.cc import mounts, outcomes, overview, posting, responses, tunnels
from cli.commands.declare import Command
from cli.commands.host import debugging, files, load, logs, programs, stop
from cli.commands.namespace import everything, hosts, namespaces, schedules
from cli.commands.network import bridges, dnsmasq, mirror, qos, taps, vlans
from cli.commands.plumbing import pipes, plumb
from cli.commands.session import environment, general, output, script
from cli.commands.vm import config, graph, life_cycle, net

DOMAINS = (
    output,
    environment,
    general,
    programs,
    logs,
    debugging,
    load,
    files,
    namespaces,
    hosts,
    schedules,
    pipes,
    plumb,
    overview,
    posting,
    responses,
    outcomes,
    tunnels,
    mounts,
    graph,
    script,
    everything,
    stop,
    life_cycle,
    config,
    net,
    vlans,
    taps,
    mirror,
    bridges,
    qos,
    dnsmasq,
)
"""The modules with commands, in the order of the reference page."""

COMMANDS: tuple[Command, ...] = tuple(command for domain in DOMAINS for command in domain.COMMANDS)
