"""Takes clients of the command socket, as many as descriptors allow; one more is told so and let go.

`asyncio.start_unix_server` would go on accepting until there are no descriptors left, and then log that a thousand
times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from cli.answers.render import encode_json
from cli.answers.response import failure

MAX_CLIENTS = 10_000
RESERVED = 64
"""Descriptors that clients must leave for everything else."""
PAUSE_S = 1.0
"""After the kernel could not give a connection."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def room_for_clients() -> int:
    """How many clients this process can have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # `bus.descriptors` has raised it
    return MAX_CLIENTS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CLIENTS, soft - RESERVED))


class Listener:
    """A listening socket and the clients that came over it."""

    def __init__(
        self,
        listening: socket.socket,
        host: str,
        serve: Serve,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        room: int,
    ) -> None:
        self._listening = listening
        self._host = host
        self._serve = serve
        self._spawn = spawn
        self._room = room
        self._clients = 0
        self._accepting: asyncio.Task[Any] | None = None

    def close(self) -> None:
        """Take no more clients; those who are there stay."""
        if self._accepting is not None:
            self._accepting.cancel()
        else:
            self._listening.close()

    async def accept_forever(self) -> None:
        """Until it is closed."""
        self._accepting = asyncio.current_task()
        try:
            while True:
                await self._accept()
                await asyncio.sleep(0)  # a crowd at the door does not keep those inside from being served
        finally:
            self._listening.close()

    async def _accept(self) -> None:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        except OSError:
            await asyncio.sleep(PAUSE_S)  # the machine is out of descriptors or memory; the client waits
            return
        if self._clients < self._room:
            self._clients += 1
            self._spawn(self._attend(connection))
        else:
            self._refuse(connection)

    async def _attend(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            await self._serve(reader, writer)
        finally:
            self._clients -= 1

    def _refuse(self, connection: socket.socket) -> None:
        response = failure(self._host, f"there are {self._room} clients already, which is as many as can be").responses[
            0
        ]
        reply = {"Resp": [response.to_json()], "Rendered": "", "More": False}
        with connection, contextlib.suppress(OSError):
            connection.send(encode_json(reply) + b"\n")
