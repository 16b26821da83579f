"""`clear all`: every part back to its beginning."""

from __future__ import annotations

from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = ()
