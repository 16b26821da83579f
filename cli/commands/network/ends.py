"""What networks have on the host itself, and what ends with the guests: host taps, servers on them, trunks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from bus.errors import BusError, UnreachableError
from bus.messages.base import DEFAULT_NAMESPACE, WILDCARD, Message, Request
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.network import DeleteTaps, GetBridges, TrunkBridge

END_S = 60.0
"""For each request."""
GIVEN_UP = "the network actor does not run: `minibus nuke` ends host taps, servers of dnsmasq and trunks"

R = TypeVar("R", bound=Message)


class Asker(Protocol):
    """A port, or the server of commands."""

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError."""
        ...


async def end(asker: Asker, to: str, namespaces: Iterable[str]) -> list[str]:
    """Delete the host taps of these namespaces, end servers, give interfaces back; returns what went wrong.

    Each is tried, whatever becomes of the others. Raises UnreachableError if nobody is there who could do it.
    """
    errors: list[str] = []
    for namespace in namespaces:
        with _noted(errors):
            report = await asker.ask(to, DeleteTaps(name=WILDCARD), timeout_s=END_S, namespace=namespace)
            errors += report.errors
    with _noted(errors):
        await asker.ask(to, KillDnsmasqs(), timeout_s=END_S, namespace=DEFAULT_NAMESPACE)
    trunks: list[TrunkBridge] = []
    with _noted(errors):
        found = await asker.ask(to, GetBridges(), timeout_s=END_S, namespace=DEFAULT_NAMESPACE)
        pairs = ((bridge.name, name) for bridge in found.bridges for name in bridge.trunks)
        trunks = [TrunkBridge(bridge=bridge, interface=name, remove=True) for bridge, name in pairs]
    for trunk in trunks:
        with _noted(errors):
            await asker.ask(to, trunk, timeout_s=END_S, namespace=DEFAULT_NAMESPACE)
    return errors


@contextlib.contextmanager
def _noted(errors: list[str]) -> Iterator[None]:
    """A failure is one more sentence, unless nobody is there at all."""
    try:
        yield
    except UnreachableError:
        raise
    except BusError as error:
        errors.append(str(error))
