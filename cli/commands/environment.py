"""Aliases, environment and preprocessing of this connection."""

from __future__ import annotations

from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = ()
