"""For programs outside: `async with connect(base) as port: await port.ask(...)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus.access.group import denied
from bus.errors import DeadlineError, DeniedError, UnreachableError
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.control import Ping
from bus.messages.gateway import GetRights
from bus.node.presence import is_running
from bus.paths import context
from bus.port import Port

CONNECT_S = 3.0


@asynccontextmanager
async def connect(base: Path | str, *, timeout_s: float = CONNECT_S, queues: bool = True) -> AsyncIterator[Port]:
    """A connection to the bus of a base directory; it can ask and subscribe, not publish. For `queues` see `Port`.

    Raises UnreachableError when no broker answers there, DeniedError when this user may not connect, InvalidError when
    the path is too long.
    """
    where = context(Path(base))
    try:
        present = where.paths.requests.is_socket()
    except PermissionError:
        raise DeniedError(denied(where.base)) from None
    if not present or not is_running(where.base):
        raise UnreachableError(not_running(where.base))
    port = Port(where, queues=queues)
    try:
        await port.open()
        try:
            await port.ask("broker", Ping(), timeout_s=timeout_s)
        except DeadlineError:
            raise UnreachableError(not_running(where.base)) from None
        yield port
    finally:
        await port.close()


@asynccontextmanager
async def connect_remote(address: str, key: Path | str, *, timeout_s: float = CONNECT_S) -> AsyncIterator[Port]:
    """A connection through the gateway of another host, at `tcp://HOST:PORT`, by default where the client's file says.

    Raises UnreachableError when no gateway answers there, DeniedError when it refuses the key, InvalidError or
    NotFoundError if the file or the address is none.
    """
    from bus.remote import remote, remote_context

    gateway = remote(address, key)
    port = Port(remote_context(), remote=gateway)
    try:
        try:
            async with asyncio.timeout(timeout_s):
                await port.open()
        except TimeoutError:
            raise UnreachableError(f"{gateway} does not answer") from None
        yield port
    finally:
        await port.close()


async def home(port: Port, *, timeout_s: float = CONNECT_S) -> str:
    """The namespace in which a remote client acts that names none: the only one that its key is for, or the default.

    Raises BusError.
    """
    rights = await port.ask("gateway", GetRights(), timeout_s=timeout_s)
    return rights.namespaces[0] if len(rights.namespaces) == 1 else DEFAULT_NAMESPACE


def not_running(base: Path) -> str:
    """What to tell whoever finds nobody there."""
    return f"minibus is not running on {base}: start it with `minibus up --base {base}`"
