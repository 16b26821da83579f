"""`log`: where log records go, and which."""

from __future__ import annotations

from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = ()
