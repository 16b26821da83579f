"""Connections through a guest's line: each end tells what it has given on, so neither side piles anything up."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from actors.cc.inputs import TunnelsOpened
from actors.cc.protocol import frames
from actors.cc.server import WINDOW, Server
from actors.cc.table import Key, Tunnel
from shims.agent.line.wire import CHUNK, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cc.sessions.session import Session

MAX_CONNECTIONS: Final = 128
"""Of one guest."""
DIALS: Final = 200
"""Connections that one guest may begin in a second."""
CONNECT_S: Final = 10.0
LISTEN_S: Final = 5.0
LOOPBACK: Final = "127.0.0.1"


class Connection(asyncio.Protocol):
    """The local end of one connection."""

    def __init__(self, tunnels: Tunnels, number: int, tunnel: int) -> None:
        self.number = number
        self.tunnel = tunnel
        self._tunnels = tunnels
        self._transport: asyncio.Transport | None = None
        self._under_way = 0
        """Bytes that the guest has not given on."""
        self._owed = 0
        """Bytes that came from the guest and are not written yet."""
        self._ready = False
        self._slow = False
        self._shut_here = self._shut_there = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there; nothing is read before the other end is there as well."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream socket
        self._transport = transport
        asyncio.get_running_loop().call_soon(self.flow)  # asyncio begins to read after this, even if told to pause
        self._tunnels.made(self)

    def ready(self) -> None:
        """The other end is there."""
        self._ready = True
        self.flow()

    def flow(self) -> None:
        """Read, or wait, as the guest keeps up."""
        if self._transport is None or self._transport.is_closing() or self._shut_here:
            return
        if self._ready and self._under_way < WINDOW and self._tunnels.has_room:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes for the guest."""
        for offset in range(0, len(data), CHUNK):
            self._tunnels.send(frames.Carry(connection=self.number, data=data[offset : offset + CHUNK]))
        self._under_way += len(data)
        self.flow()

    def eof_received(self) -> bool:
        """No more from here; the other direction stays."""
        self._shut_here = True
        self._tunnels.send(frames.Shut(connection=self.number))
        if self._shut_there:
            self._tunnels.forget(self.number)
            return False
        return True

    def pause_writing(self) -> None:
        """Whoever is connected here reads slowly."""
        self._slow = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._slow = False
        self._pay()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._tunnels.lost(self, str(exc) if exc else "")

    def carry(self, data: bytes) -> None:
        """Bytes from the guest; raises WireError."""
        if self._owed + len(data) > 2 * WINDOW or self._shut_there:
            raise WireError("more is carried than may be under way")
        if self._transport is not None:
            self._owed += len(data)
            self._transport.write(data)
            if not self._slow:
                self._pay()

    def _pay(self) -> None:
        if self._owed:
            self._tunnels.send(frames.Carried(connection=self.number, bytes=self._owed))
            self._owed = 0

    def carried(self, count: int) -> None:
        """The guest has given on so many."""
        self._under_way = max(0, self._under_way - count)
        self.flow()

    def shut(self) -> None:
        """No more from the guest."""
        self._shut_there = True
        if self._transport is None:
            return
        if self._shut_here:
            self._tunnels.forget(self.number)
            self._transport.close()
        else:
            with contextlib.suppress(OSError):
                self._transport.write_eof()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()


class Tunnels:
    """The connections of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._next = 2
        self._connections: dict[int, Connection] = {}
        self._dialling = 0
        self._listening: dict[int, asyncio.Future[str]] = {}

    @property
    def has_room(self) -> bool:
        """Whether the guest reads."""
        return self._session.has_room

    def send(self, frame: frames.Frame) -> None:
        """To the guest."""
        self._session.send(frame)

    def count(self, tunnel: int) -> int:
        """Connections of one tunnel."""
        return sum(connection.tunnel == tunnel for connection in self._connections.values())

    def close(self, reason: str) -> None:
        """The session is over, and all connections with it."""
        for connection in tuple(self._connections.values()):
            self.forget(connection.number)
            connection.abort()
        for waiting in self._listening.values():
            if not waiting.done():
                waiting.set_result(reason or "the line is gone")

    def close_tunnel(self, tunnel: Tunnel | None, number: int) -> None:
        """No more of one tunnel."""
        if tunnel is None or tunnel.reverse:
            self.send(frames.Unlisten(tunnel=number))
        for connection in [found for found in self._connections.values() if found.tunnel == number]:
            self.forget(connection.number)
            self.send(frames.HangUp(connection=connection.number, error="the tunnel is closed"))
            connection.abort()

    def flow(self) -> None:
        """The guest has caught up, or fallen behind."""
        for connection in tuple(self._connections.values()):
            connection.flow()

    # --- forward

    def accept(self, tunnel: Tunnel) -> Connection:
        """Somebody has connected on this host."""
        number, self._next = self._next, self._next + 2
        return Connection(self, number, tunnel.id)

    def made(self, connection: Connection) -> None:
        """The local end is there."""
        if self._session.over or len(self._connections) >= MAX_CONNECTIONS:
            connection.abort()
            return
        self._connections[connection.number] = connection
        if connection.number % 2 == 0:
            ledger = self._session.server.table.namespaces.get(self._session.key[0])
            own = ledger.tunnels.get(self._session.key[1], {}) if ledger else {}
            tunnel = own.get(connection.tunnel)
            if tunnel is None:
                connection.abort()
                return
            self.send(frames.Dial(connection=connection.number, host=tunnel.host, port=tunnel.port))

    def forget(self, number: int) -> None:
        """It is over for both."""
        self._connections.pop(number, None)

    def lost(self, connection: Connection, error: str) -> None:
        """The local end is gone; if the guest does not know, it is told."""
        if self._connections.pop(connection.number, None) is not None:
            self.send(frames.HangUp(connection=connection.number, error=error[:1000]))

    # --- reverse

    async def listen(self, tunnel: Tunnel) -> str:
        """Have the guest listen; returns why it does not."""
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._listening[tunnel.id] = waiting
        self.send(frames.Listen(tunnel=tunnel.id, port=tunnel.source))
        try:
            async with asyncio.timeout(LISTEN_S):
                return await waiting
        except TimeoutError:
            return "the agent does not answer"
        finally:
            self._listening.pop(tunnel.id, None)

    async def _dial(self, number: int, tunnel: Tunnel) -> None:
        error = ""
        try:
            async with asyncio.timeout(CONNECT_S):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: Connection(self, number, tunnel.id), tunnel.host, tunnel.port)
        except TimeoutError:
            error = f"{tunnel.host}:{tunnel.port} does not answer"
        except (OSError, UnicodeError) as failure:
            why = getattr(failure, "strerror", None) or str(failure)
            error = f"cannot connect to {tunnel.host}:{tunnel.port}: {why}"
        finally:
            self._dialling -= 1
        connection = self._connections.get(number)
        self.send(frames.Dialed(connection=number, error=error or ("" if connection else "too many connections")))
        if connection is not None:
            connection.ready()

    # --- frames

    def take(self, frame: frames.AgentFrame) -> None:
        """A frame about a tunnel; others are ignored. Raises WireError."""
        match frame:
            case frames.Listening(tunnel=tunnel, error=error):
                waiting = self._listening.get(tunnel)
                if waiting is not None and not waiting.done():
                    waiting.set_result(error)
            case frames.GuestDial():
                self._guest_dials(frame)
            case frames.Dialed(connection=number, error=error):
                self._with(number, lambda found: self._refused(found) if error else found.ready())
            case frames.Carry(connection=number, data=data):
                self._with(number, lambda found: found.carry(data))
            case frames.Carried(connection=number, bytes=count):
                self._with(number, lambda found: found.carried(count))
            case frames.Shut(connection=number):
                self._with(number, lambda found: found.shut())
            case frames.HangUp(connection=number):
                self._with(number, self._refused)
            case _:
                pass

    def _with(self, number: int, do: Callable[[Connection], None]) -> None:
        connection = self._connections.get(number)
        if connection is not None:  # else both have hung up at the same time
            do(connection)

    def _refused(self, connection: Connection) -> None:
        self.forget(connection.number)
        connection.abort()

    def _guest_dials(self, frame: frames.GuestDial) -> None:
        """Where it leads is not for the guest to say."""
        ledger = self._session.server.table.namespaces.get(self._session.key[0])
        own = ledger.tunnels.get(self._session.key[1], {}) if ledger else {}
        tunnel = own.get(frame.tunnel)
        if frame.connection % 2 == 0 or frame.connection in self._connections:
            raise WireError("a connection with a number that it cannot have")
        if tunnel is None or not tunnel.reverse:
            self.send(frames.Dialed(connection=frame.connection, error="there is no such tunnel"))
        elif len(self._connections) + self._dialling >= MAX_CONNECTIONS or not self._session.may("dial", DIALS):
            self.send(frames.Dialed(connection=frame.connection, error="too many connections"))
        else:
            self._dialling += 1
            self._session.server.spawn(self._dial(frame.connection, tunnel), name=f"dial {tunnel.port}")


class TunnelListeners:
    """The ports of this host that lead into guests."""

    def __init__(self, server: Server, session_of: Callable[[Key], Session | None]) -> None:
        self._server = server
        self._session_of = session_of
        self._open: dict[tuple[Key, int], asyncio.Server] = {}

    async def open(self, tunnels: tuple[tuple[Key, Tunnel], ...], msg_id: str) -> None:
        """Open them; the first problem is told to who asked for them."""
        problem = ""
        for key, tunnel in tunnels:
            problem = problem or await self._open_one(key, tunnel)
        if msg_id:
            self._server.feed(TunnelsOpened(msg_id=msg_id, error=problem))
        elif problem:
            self._server.log.warn("tunnel_not_opened", error=problem)

    async def _open_one(self, key: Key, tunnel: Tunnel) -> str:
        if tunnel.reverse:
            session = self._session_of(key)
            error = await session.tunnels.listen(tunnel) if session else "its agent is not connected"
            guest = self._server.table.guest(key)
            return f"port {tunnel.source} in {guest.vm.name if guest else key[1]}: {error}" if error else ""
        if (key, tunnel.id) in self._open:
            return ""
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: self._accept(key, tunnel), LOOPBACK, tunnel.source
            )
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)  # asyncio's own text has the address again
            return f"cannot listen on port {tunnel.source}: {why}"
        self._open[key, tunnel.id] = server
        return ""

    def _accept(self, key: Key, tunnel: Tunnel) -> asyncio.Protocol:
        session = self._session_of(key)
        return session.tunnels.accept(tunnel) if session is not None else _Refusing()

    def close(self, key: Key, number: int) -> None:
        """One tunnel."""
        server = self._open.pop((key, number), None)
        if server is not None:
            server.close()
        session = self._session_of(key)
        if session is not None:
            session.tunnels.close_tunnel(None, number)

    def close_all(self) -> None:
        """The process ends."""
        for server in self._open.values():
            server.close()
        self._open.clear()


class _Refusing(asyncio.Protocol):
    """Nobody is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
