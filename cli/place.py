"""Which minibus a program talks to: that of a base directory of this host or, with a key, one of another host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from bus.client import connect, connect_remote, home
from bus.messages.base import DEFAULT_NAMESPACE
from bus.port import Port
from cli.arguments import Options, UsageError


class Place(NamedTuple):
    """See the module."""

    base: Path
    key: str = ""
    """The file that `minibus key make` wrote; empty for this host."""
    address: str = ""
    """`tcp://HOST:PORT`; empty to go where the file says."""


def place_of(base: Path, options: Options) -> Place:
    """Where a command line leads; raises UsageError."""
    found = Place(base, options.values.get("key", ""), options.values.get("address", ""))
    if "key" in options.values and not found.key:  # of a script whose variable was empty: that must not mean this host
        raise UsageError("--key needs a file")
    if found.address and not found.key:
        raise UsageError("--address needs --key FILE, with the key for that host")
    if found.key and options.values.get("base"):
        raise UsageError("--base is for this host, --key for another one: give one of them")
    return found


async def namespace_of(place: Place, port: Port, given: str) -> str:
    """The namespace to act in: the one that was given, else the only one that the key is for, else the default."""
    return given or (await home(port) if place.key else DEFAULT_NAMESPACE)


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[Port]:
    """A connection to its bus; raises UnreachableError, DeniedError, InvalidError, NotFoundError."""
    way = connect_remote(place.address, place.key) if place.key else connect(place.base)
    async with way as port:
        yield port
