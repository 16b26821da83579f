"""Addresses of actors: `vm` on the own host, `vm@kn1` on another."""

from __future__ import annotations

import re
from typing import NamedTuple

from bus.errors import InvalidError

_PART = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Address(NamedTuple):
    """An actor and the host it runs on; an empty host means the own one."""

    actor: str
    host: str = ""

    def __str__(self) -> str:
        return f"{self.actor}@{self.host}" if self.host else self.actor

    def on(self, host: str) -> Address:
        """The same address with this host filled in if it named none."""
        return self if self.host else Address(self.actor, host)


def parse_address(text: str) -> Address:
    """Read `actor` or `actor@host`; raises InvalidError."""
    actor, at, host = text.partition("@")
    if not _PART.fullmatch(actor) or (at and not _PART.fullmatch(host)):
        raise InvalidError(f"invalid address `{text[:80]}`: expected actor or actor@host")
    return Address(actor, host)
