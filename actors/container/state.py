"""What the container actor knows and decides: which containers there are, and which calls of the warden are open.

Requests name many guests; each becomes one call of the warden, and the request is answered when all its calls are. When
the warden or this actor was away meanwhile, what the warden lists decides how every open call went (`reconcile.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from bus.actor.step import Ask, Effect, Input, Reply
from bus.messages.guest import (
    GuestConsole,
    GuestExit,
    GuestReport,
    GuestReports,
    GuestSpec,
    ReportConsoles,
    ReportExits,
)
from shims.container.protocol import ContainerSpec, ContainerStatus, Volume

REPORT_TIMEOUT_S = 60.0


class Verb(StrEnum):
    """What the warden can be asked to do with one container."""

    CREATE = "create"
    START = "start"
    FREEZE = "freeze"
    KILL = "kill"
    FORGET = "forget"


class GuestState(StrEnum):
    """A container's state as last confirmed by the warden."""

    CREATING = "creating"
    BUILDING = "building"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


class Guest(msgspec.Struct, kw_only=True):
    """One container, from the request to make it until it is forgotten."""

    spec: ContainerSpec
    namespace: str = ""
    """Who may act there may use its console; empty if it was made by an earlier version: then no key may."""
    state: GuestState = GuestState.CREATING
    pid: int = 0
    console_port: int = 0
    """TCP port of its console; 0 if there is none."""
    exit: GuestExit | None = None


class Retry(msgspec.Struct, kw_only=True, frozen=True):
    """A creation to be made once the removal of an earlier attempt is through."""

    call: str
    request: str


class Call(msgspec.Struct, kw_only=True):
    """A call of the warden that is not answered yet.

    One without a request belongs to a removal: kill, then forget, then perhaps `retry`.
    """

    verb: Verb
    vm_id: int
    request: str = ""
    retry: Retry | None = None


class Waiting(msgspec.Struct, kw_only=True):
    """A request whose calls are not all answered."""

    open_calls: int
    reports: list[GuestReport] = []


class ContainerTable(msgspec.Struct, kw_only=True):
    """State of the actor."""

    tag: str
    guests: dict[int, Guest] = {}
    calls: dict[str, Call] = {}
    requests: dict[str, Waiting] = {}
    exits_sent: int = 0
    ports_sent: int = 0


class WardenAnswered(Input, frozen=True, kw_only=True, omit_defaults=True, tag="warden_answered"):
    """A call has been answered; `error` is empty on success."""

    call: str
    error: str = ""
    pid: int = 0
    warnings: tuple[str, ...] = ()
    console_port: int = 0


class ConsolesMoved(Input, frozen=True, kw_only=True, omit_defaults=True, tag="consoles_moved"):
    """Consoles are served at other TCP ports than before; 0: at none."""

    ports: dict[int, int]


class WardenExited(Input, frozen=True, kw_only=True, omit_defaults=True, tag="warden_exited"):
    """A container's init has ended."""

    exit: GuestExit


class WardenConnected(Input, frozen=True, kw_only=True, omit_defaults=True, tag="warden_connected"):
    """The warden has been reached, and this is all it has. Calls sent to it earlier will not be answered."""

    containers: tuple[ContainerStatus, ...]


class CallWarden(Effect, frozen=True, kw_only=True):
    """Make a call; it comes back as `WardenAnswered`."""

    call: str
    verb: Verb
    vm_id: int
    spec: ContainerSpec | None = None


class DropConsole(Effect, frozen=True, kw_only=True):
    """Close the console of a forgotten container."""

    vm_id: int


def container_spec(guest: GuestSpec, tag: str) -> ContainerSpec:
    """What the warden is to build for a guest."""
    config = guest.config
    return ContainerSpec(
        guest_id=guest.vm_id,
        tag=tag,
        instance_dir=guest.instance_dir,
        filesystem=config.filesystem,
        snapshot=config.snapshot,
        hostname=config.hostname or guest.name,
        uuid=guest.uuid,
        init=config.init,
        preinit=config.preinit,
        fifos=config.fifos,
        volumes=tuple(Volume(source=source, target=target) for target, source in sorted(config.volumes.items())),
        memory_mib=config.memory_mib,
        vcpus=config.vcpus,
        processes=config.processes,
        seccomp=config.seccomp,
        backchannel=config.backchannel,
    )


def call_warden(table: ContainerTable, call: str, verb: Verb, vm_id: int, request: str = "") -> CallWarden:
    """Note an open call and make the effect that carries it out."""
    table.calls[call] = Call(verb=verb, vm_id=vm_id, request=request)
    spec = table.guests[vm_id].spec if verb is Verb.CREATE else None
    return CallWarden(call=call, verb=verb, vm_id=vm_id, spec=spec)


def _removal_name(vm_id: int, verb: Verb) -> str:
    return f"remove/{vm_id}/{verb.value}"


def is_being_removed(table: ContainerTable, vm_id: int) -> bool:
    """Whether an earlier attempt at this container is on its way out, whose end is not the end of the next one."""
    return _removal_name(vm_id, Verb.KILL) in table.calls or _removal_name(vm_id, Verb.FORGET) in table.calls


def removal(table: ContainerTable, verb: Verb, vm_id: int, retry: Retry | None) -> CallWarden:
    """One call of a removal."""
    name = _removal_name(vm_id, verb)
    effect = call_warden(table, name, verb, vm_id)
    table.calls[name].retry = retry
    return effect


def after_removal(table: ContainerTable, call: Call) -> list[Effect]:
    """What follows one answered call of a removal."""
    if call.verb is Verb.KILL:
        return [removal(table, Verb.FORGET, call.vm_id, call.retry)]
    if call.retry is not None and call.vm_id in table.guests:
        return [call_warden(table, call.retry.call, Verb.CREATE, call.vm_id, call.retry.request)]
    return []


def report(table: ContainerTable, request: str, row: GuestReport) -> list[Effect]:
    """Add one guest's outcome to a request; its answer, if that was the last."""
    waiting = table.requests.get(request)
    if waiting is None:
        return []
    waiting.reports.append(row)
    waiting.open_calls -= 1
    return finish_if_done(table, request)


def finish_if_done(table: ContainerTable, request: str) -> list[Effect]:
    """Answer a request that has no open call left."""
    waiting = table.requests[request]
    if waiting.open_calls > 0:
        return []
    del table.requests[request]
    return [Reply(msg_id=request, body=GuestReports(reports=tuple(waiting.reports)))]


def report_exit(table: ContainerTable, exit_: GuestExit) -> Ask:
    """Tell the `vm` actor of an exit; repeated until it has taken it."""
    table.exits_sent += 1
    tag = f"exit/{exit_.vm_id}/{table.exits_sent}"
    return Ask(tag=tag, to="vm", body=ReportExits(exits=(exit_,)), timeout_s=REPORT_TIMEOUT_S)


def report_consoles(table: ContainerTable, vm_ids: Iterable[int]) -> Ask:
    """Tell the `vm` actor where consoles are served now; repeated until it has taken it."""
    table.ports_sent += 1
    guests = ((vm_id, table.guests[vm_id]) for vm_id in vm_ids)
    consoles = tuple(GuestConsole(vm_id=vm_id, pid=guest.pid, port=guest.console_port) for vm_id, guest in guests)
    tag = f"consoles/{table.ports_sent}"
    return Ask(tag=tag, to="vm", body=ReportConsoles(consoles=consoles), timeout_s=REPORT_TIMEOUT_S)
