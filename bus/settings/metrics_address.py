"""Where the endpoint for Prometheus listens, if there is to be one."""

from __future__ import annotations

import ipaddress
import os
from typing import NamedTuple

from bus.errors import InvalidError
from bus.paths import LOOPBACK

METRICS = "MINIBUS_METRICS"
"""Environment variable that carries `minibus up --metrics` to the processes of the node."""


class Address(NamedTuple):
    """An IP address, and a TCP port; 0 lets the kernel choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `PORT` or `ADDRESS:PORT`, an IPv6 address in brackets; raises InvalidError."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare if colon else LOOPBACK)
        if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65_536):
            raise ValueError
        if (address.version == 6) != (bare != host):
            raise ValueError
    except ValueError:
        expected = "PORT, ADDRESS:PORT or [IPV6]:PORT"
        raise InvalidError(f"metrics cannot be served on `{text[:80]}`: expected {expected}") from None
    return Address(str(address), int(port))


def wanted() -> str:
    """What was asked for; empty if nothing was."""
    return os.environ.get(METRICS, "")
