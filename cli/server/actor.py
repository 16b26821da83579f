"""The actor that serves the command socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bus.access import group
from bus.actor.base import Actor, RequestContext, query
from bus.errors import ConflictError, UnavailableError
from bus.messages.cli import LineOutput, RunLine
from cli.commands.registry import COMMANDS
from cli.server.connection import Connection
from cli.server.engine import Engine
from cli.server.lines import Lines
from cli.server.listener import Listener, room_for_clients

BACKLOG = 1024
SOCKET_MODE = 0o600
SHARED_MODE = 0o660


class CliActor(Actor):
    """Parses commands, asks the actors they concern, renders their replies. Keeps nothing that must outlive it."""

    kind = "cli"

    async def on_start(self) -> None:
        """Listen on the command socket; raises a BusError that says why that cannot be."""
        where = self.context
        self.engine = Engine(
            self.port, where.host, COMMANDS, self._spawn_named, self._log_bug, where.files_dir, self.inputs
        )
        self._lines = Lines(self.engine, self._spawn_named)
        path = self.context.paths.command_socket
        await _remove_stale(path)
        self._listener = Listener(_listen(path), where.host, self._serve, self._spawn_client, room_for_clients())
        self.spawn(self._listener.accept_forever(), name="listener")

    async def on_stop(self) -> None:
        """Take no more clients; the connections end with the actor's tasks."""
        self._listener.close()
        self.context.paths.command_socket.unlink(missing_ok=True)

    @query
    async def run_line(self, msg: RunLine, request: RequestContext) -> LineOutput:
        """Run a command line that came over the bus."""
        return await self._lines.run(msg, request.msg_id, request.namespace)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(self.engine, reader, writer).serve()

    def _spawn_client(self, work: Coroutine[Any, Any, None]) -> None:
        self.spawn(work, name="client")

    def _spawn_named(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.spawn(work, name=name)

    def _log_bug(self, error: Exception) -> None:
        self.log.exception("command_failed", error)


def _listen(path: Path) -> socket.socket:
    """A socket that only root and the group may use, from the first moment on; raises UnavailableError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    umask = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listening.bind(str(path))
        listening.listen(BACKLOG)
        group.share(path, group.group_id(), alone=SOCKET_MODE, shared=SHARED_MODE)
    except OSError as error:
        listening.close()
        raise UnavailableError(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(umask)
    return listening


async def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; raises ConflictError if somebody does."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except FileNotFoundError:
        return
    except OSError:
        path.unlink(missing_ok=True)
        return
    writer.close()
    raise ConflictError(f"another program serves {path}")
