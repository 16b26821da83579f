"""What ends with the guests on the host: each part is tried, whatever becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import BusError, DeadlineError, UnavailableError, UnreachableError
from bus.messages.base import Ack, Message, Request
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.network import BridgeInfo, Bridges, DeleteTaps, GetBridges, InterfaceReport, TrunkBridge
from cli.commands.network.ends import end

BRIDGES = Bridges(bridges=(BridgeInfo(name="br1", trunks=("eth1", "eth2")), BridgeInfo(name="br2", vlans=(7,))))
TRUNKS = [TrunkBridge(bridge="br1", interface=name, remove=True) for name in ("eth1", "eth2")]


class Network:
    """Answers, or fails where it was told to."""

    def __init__(self, failures: dict[type[Message], BusError]) -> None:
        self.failures = failures
        self.asked: list[tuple[str, Message]] = []

    async def ask(self, to: str, request: Request[Any], *, timeout_s: float, namespace: str) -> Any:
        """One request."""
        assert (to, timeout_s > 0) == ("network", True)
        self.asked.append((namespace, request))
        if (error := self.failures.get(type(request))) is not None:
            raise error
        taps = InterfaceReport(errors=("foo stays",) if namespace == "exp" else ())
        replies: dict[type[Message], Message] = {DeleteTaps: taps, GetBridges: BRIDGES}
        return replies.get(type(request), Ack())


@pytest.mark.parametrize(
    ("failures", "errors"),
    [
        ({}, ["foo stays"]),
        ({DeleteTaps: DeadlineError("too slow")}, ["too slow", "too slow"]),
        ({KillDnsmasqs: DeadlineError("too slow")}, ["foo stays", "too slow"]),
        ({TrunkBridge: UnavailableError("it stays")}, ["foo stays", "it stays", "it stays"]),
    ],
)
async def test_all_of_it_is_tried(failures: dict[type[Message], BusError], errors: list[str]) -> None:
    network = Network(failures)
    assert await end(network, "network", ("exp", "minimega")) == errors
    assert [request for _, request in network.asked[-2:]] == TRUNKS
    assert [namespace for namespace, _ in network.asked[:2]] == ["exp", "minimega"]


async def test_nobody_is_there() -> None:
    network = Network({DeleteTaps: UnreachableError("nobody")})
    with pytest.raises(UnreachableError):
        await end(network, "network", ("exp", "minimega"))
    assert len(network.asked) == 1
