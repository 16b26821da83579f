"""Answers of the cc actor that tests of the `cc` commands share."""

from __future__ import annotations

from typing import Any

from bus.messages.base import Ack, Message
from bus.messages.cc import (
    CcState,
    ClientInfo,
    ClientList,
    CommandList,
    CommandPosted,
    CommandState,
    GetCcState,
    GetClients,
    GetCommands,
    GetGuestProcesses,
    GetOutcomes,
    GetResponses,
    GuestFilter,
    GuestProcesses,
    Outcome,
    Outcomes,
    PostCommand,
    Responses,
    SignalCommand,
)
from bus.messages.tunnel import GetTunnels, TunnelList
from bus.messages.vm import GetVmNames, VmNames
from tests.unit.cli.stand_ins import EngineBench

ONE = ClientInfo(
    uuid="u1",
    vm="web",
    hostname="h\x1b1",
    arch="amd64",
    os="linux",
    ips=("10.0.0.1", "fe80::1"),
    macs=("02:00",),
    silent_s=62.4,
)
OUTCOMES = Outcomes(
    id=3,
    outcomes=(
        Outcome(uuid="u1", vm="web", state=CommandState.EXITED, code=7, started_s=1.0, ended_s=2.0, stdout=5),
        Outcome(uuid="u2", vm="db", state=CommandState.SIGNALED, code=9),
        Outcome(uuid="u3", vm="off", state=CommandState.FAILED, error="nonesuch: not\x1b found"),
        Outcome(uuid="u4", vm="slow", state=CommandState.RUNNING, pid=4),
        Outcome(uuid="u5", vm="late", state=CommandState.TIMEOUT),
    ),
)
ANSWERS: dict[type[Message], Any] = {
    GetCcState: CcState(clients=2, filter=GuestFilter(os="linux"), prefix="p", listeners=("*:9002",)),
    GetClients: ClientList(clients=(ONE, ClientInfo(uuid="u2", vm="db", hostname="twin"))),
    GetCommands: CommandList(commands=()),
    GetGuestProcesses: GuestProcesses(processes=()),
    GetOutcomes: OUTCOMES,
    GetResponses: Responses(),
    GetVmNames: VmNames(uuids={}),
    GetTunnels: TunnelList(tunnels=()),
    PostCommand: CommandPosted(id=4, guests=2),
    SignalCommand: Ack(),
}


def bench(**reactions: Any) -> EngineBench:
    by_name = {kind.__name__: kind for kind in ANSWERS}
    return EngineBench({**ANSWERS, **{by_name[name]: reaction for name, reaction in reactions.items()}})
