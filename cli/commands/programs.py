"""Programs that users run on the host, in the foreground and the background, and what the host lacks."""

from __future__ import annotations

from cli.commands.declare import Command

COMMANDS: tuple[Command, ...] = ()
