"""What tests of the cc actor's step share: guests, agents, commands and what they report."""

from __future__ import annotations

from typing import Any

from actors.cc.inputs import (
    Began,
    Finished,
    Joined,
    Synced,
    VmsSeen,
)
from actors.cc.state import step
from actors.cc.table import CcTable, Facts, Vm
from actors.cc.views import outcomes
from bus.actor.step import Effect, Fail, Input
from bus.messages.base import Request
from bus.messages.cc import (
    CommandKind,
    CommandSpec,
    CommandState,
    GuestFilter,
    PostCommand,
)
from bus.messages.vm import GuestKind, VmState
from tests.unit.actors.steps import play, received, the

NS = "minimega"
NOBODY = "no guest matches the filter now; those that come to match it will get the command"
NOWHERE = "invalid: into which guest? a tunnel needs the name or the UUID of a VM"


def uuid(number: int) -> str:
    return f"u{number}"


def key(number: int, namespace: str = NS) -> tuple[str, str]:
    return namespace, uuid(number)


def vm(number: int, **more: Any) -> Vm:
    fields: dict[str, Any] = {
        "vm_id": number,
        "namespace": NS,
        "name": f"vm{number}",
        "uuid": uuid(number),
        "kind": GuestKind.CONTAINER,
        "state": VmState.RUNNING,
        **more,
    }
    return Vm(**fields)


def here(number: int, *serials: int, boot: str = "b1", agent: str = "a1", **facts: Any) -> tuple[Input, ...]:
    """An agent comes, knows these commands, and is synced."""
    return (
        Joined(key=key(number), boot=boot, agent=agent, facts=Facts(**facts)),
        Synced(key=key(number), serials=serials, time_s=50.0),
    )


def execute(*argv: str, **more: Any) -> CommandSpec:
    return CommandSpec(kind=CommandKind.EXEC, argv=argv or ("x",), **more)


def post(spec: CommandSpec | None = None, msg_id: str = "p", wanted: GuestFilter | None = None) -> Input:
    return received(PostCommand(command=spec or execute(), filter=wanted), msg_id)


def began(number: int, serial: int = 1) -> Began:
    return Began(key=key(number), serial=serial, pid=7, guest_s=60.0)


def finished(number: int, serial: int = 1, state: CommandState = CommandState.EXITED, **more: Any) -> Finished:
    return Finished(key=key(number), serial=serial, state=state, guest_s=61.0, **more)


def after(*inputs: Input, guests: int = 2) -> CcTable:
    """A table with guests that are connected, after these inputs."""
    table = CcTable()
    play(step, table, VmsSeen(vms=tuple(vm(number) for number in range(1, guests + 1))))
    for number in range(1, guests + 1):
        play(step, table, *here(number))
    play(step, table, *inputs)
    return table


def states(table: CcTable, number: int = 1, namespace: str = NS) -> dict[str, str]:
    return {row.vm: row.state.value for row in outcomes(table.namespaces.get(namespace), number).outcomes}


def ask(table: CcTable, request: Request[Any], msg_id: str = "q", namespace: str = NS) -> list[Effect]:
    (effects,) = play(step, table, received(request, msg_id, namespace=namespace))
    return effects


def sentence(effects: list[Effect]) -> str:
    fail = the(Fail, effects)
    return f"{fail.code}: {fail.message}"
