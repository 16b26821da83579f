"""Where the gateway listens: one address with two consecutive ports, requests on the first, events on the second."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple

from bus.errors import InvalidError

LISTEN = "MINIBUS_LISTEN"
"""Environment variable that carries `minibus up --listen` to the processes of the node."""
EXPECTED = "expected tcp://ADDRESS:PORT, an IPv6 address in brackets"

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
MAX_PORT = 65_534


class Endpoint(NamedTuple):
    """A host (IP address or name) and the first of two TCP ports."""

    host: str
    port: int

    @property
    def requests(self) -> str:
        """Of the ROUTER, as ZeroMQ writes it."""
        return self._at(self.port)

    @property
    def events(self) -> str:
        """Of the XPUB."""
        return self._at(self.port + 1)

    def _at(self, port: int) -> str:
        return f"tcp://[{self.host}]:{port}" if ":" in self.host else f"tcp://{self.host}:{port}"

    def __str__(self) -> str:
        return self.requests


def parse_endpoint(text: str) -> Endpoint:
    """Read `tcp://HOST:PORT`; raises InvalidError."""
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_name = _HOST_NAME.fullmatch(bare) is not None
    if not text.startswith("tcp://") or not colon or not (is_name or _is_ip(bare)) or (":" in bare) != (bare != host):
        raise InvalidError(f"`{text[:80]}` is no address of a gateway: {EXPECTED}")
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and 1 <= int(port) <= MAX_PORT):
        raise InvalidError(f"`{text[:80]}` has no port from 1 to {MAX_PORT}")
    return Endpoint(bare, int(port))


def parse_listen(text: str) -> Endpoint:
    """Read where to listen, an IP address; raises InvalidError."""
    endpoint = parse_endpoint(text)
    if not _is_ip(endpoint.host):
        raise InvalidError(f"minibus cannot listen on `{text[:80]}`: {EXPECTED}, or 0.0.0.0 for every interface")
    return endpoint


def wanted() -> str:
    """What was asked for; empty if nothing was."""
    return os.environ.get(LISTEN, "")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
