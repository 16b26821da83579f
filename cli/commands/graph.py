"""`viz`: the VMs of a namespace and their VLANs as a graph."""

from __future__ import annotations

from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = ()
