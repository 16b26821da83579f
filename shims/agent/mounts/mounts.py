"""This guest's file systems as the server's host sees them: requests of its kernel come in, replies go out.

Loaded when the first mount is asked for.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from shims.agent.mounts.server import Server

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

MAX_MOUNTS = 4
MAX_WAITING = 1024
"""Requests that wait because the line is full; the server has far fewer under way."""


class Mounts:
    """All of one session; they end with it."""

    def __init__(self, agent: Agent, root: bytes = b"/") -> None:
        self._agent, self._root = agent, root
        self._servers: dict[int, Server] = {}
        self._waiting: deque[tuple[int, bytes]] = deque()

    def take(self, message: Message) -> None:
        """A message of the server about mounts; raises ValueError if it cannot be meant."""
        kind, number = message["type"], int(message["mount"])
        if kind == "mount":
            if number in self._servers or len(self._servers) >= MAX_MOUNTS:
                raise ValueError(f"mount {number} is there already, or there are too many")
            self._servers[number] = Server(self._root)
        elif kind == "unmount":
            server = self._servers.pop(number, None)
            if server is not None:
                server.close()
        elif number in self._servers:
            if len(self._waiting) >= MAX_WAITING:
                raise ValueError("more requests than may be under way")
            self._waiting.append((number, bytes(message["data"])))
            self.go_on()

    def go_on(self) -> None:
        """Serve while the line takes the replies."""
        session = self._agent.session
        while self._waiting and session.line.has_room:
            number, data = self._waiting.popleft()
            server = self._servers.get(number)
            reply = server.take(data) if server is not None else None
            if reply is not None:
                session.send({"type": "fuse", "mount": number, "data": reply})

    def close(self) -> None:
        """The session has ended."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._waiting.clear()
