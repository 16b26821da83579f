"""Host taps: interfaces of the host that are plugged into segments."""

from __future__ import annotations

import ipaddress

import msgspec

from actors.network.names import TAP_PREFIX, bridge_problem, name_problem, new_bridges, shown, vlan_problem
from actors.network.operations import AddTap, Leased, NoLease, Remove, Worked
from actors.network.plugs.unplugging import forget_tap
from actors.network.table import (
    Job,
    KeepLease,
    NetworkTable,
    Tap,
    Work,
    bridges_in_use,
    failure,
    mirrors_of,
)
from actors.network.turn import Turn
from bus.actor.step import Effect
from bus.messages.base import WILDCARD
from bus.messages.network import DEFAULT_BRIDGE, CreateTap, DeleteTaps, HostTap, HostTaps, InterfaceReport
from shims.network.base import Segment

MAX_ADDRESS = 64


def begin_create(turn: Turn, job: Job) -> Work | None:
    """Have a host tap made."""
    body = _create(job)
    table = turn.table
    if problem := _problem(table, body):
        turn.fail(job, "invalid", problem)
        return None
    if body.name and (clash := _clash(table, body.name)):
        turn.fail(job, "conflict", clash)
        return None
    operation = AddTap(
        name=body.name,
        number=table.next_tap,
        taken=tuple(sorted(name for name in _ports(table) if name.startswith(TAP_PREFIX))) if not body.name else (),
        segment=Segment(body.bridge, body.vlan),
        addresses=(body.address,) if body.address else (),
        new_bridges=new_bridges(table, [body.bridge]),
    )
    return Work(jobs=[job], operation=operation)


def finish_create(turn: Turn, work: Work, outcome: Worked) -> None:
    """Answer with the tap."""
    (job,) = work.jobs
    if outcome.failed:
        turn.fail(job, outcome.code, outcome.failed)
        return
    body, table = _create(job), turn.table
    tap = Tap(
        name=outcome.name,
        namespace=job.namespace,
        segment=Segment(body.bridge, body.vlan),
        address=body.address,
        dhcp=body.dhcp,
    )
    table.taps[tap.name] = tap
    if not body.name:
        table.next_tap = int(tap.name.removeprefix(TAP_PREFIX)) + 1
    if body.dhcp:
        table.leasing[tap.name] = job
        turn.effects.append(KeepLease(tap=tap.name, is_new=True))
        return
    _made(turn, job, tap)


def _made(turn: Turn, job: Job, tap: Tap) -> None:
    turn.tap_made(tap, cause=job.msg_id)
    turn.reply(job, HostTaps(taps=(host_tap(turn.table, tap),)))


def leased(turn: Turn, inp: Leased) -> None:
    """Note the address; whoever waited for it has his tap."""
    table = turn.table
    tap = table.taps.get(inp.tap)
    if tap is None or not tap.dhcp:
        return
    table.taps[inp.tap] = tap = msgspec.structs.replace(tap, address=inp.address)
    if inp.address and (job := table.leasing.pop(inp.tap, None)) is not None:
        _made(turn, job, tap)


def no_lease(turn: Turn, inp: NoLease) -> None:
    """Have the tap removed again, before anything else."""
    if (job := turn.table.leasing.pop(inp.tap, None)) is not None:
        body = DeleteTaps(name=inp.tap)
        removal = Job(msg_id=job.msg_id, namespace=job.namespace, body=body, refusal=inp.message)
        turn.table.queue.insert(0, removal)


def leases_again(table: NetworkTable) -> list[Effect]:
    """After a start of the actor: for all taps whose address is leased."""
    return [KeepLease(tap=tap.name, is_new=tap.name in table.leasing) for tap in table.taps.values() if tap.dhcp]


def _problem(table: NetworkTable, body: CreateTap) -> str:
    return (
        vlan_problem(body.vlan)
        or bridge_problem(table, body.bridge)
        or (name_problem(body.name, "tap") if body.name else "")
        or (address_problem(body.address) if body.address else "")
        or ("an address is given or leased, not both" if body.address and body.dhcp else "")
    )


def _clash(table: NetworkTable, name: str) -> str:
    if name in _ports(table):
        return f"tap already on bridge: {name}"
    return f"{name} is the name of a bridge" if name in {*bridges_in_use(table), DEFAULT_BRIDGE} else ""


def _ports(table: NetworkTable) -> set[str]:
    return {*table.taps, *(nic.tap for _, _, nic in table.places())}


def address_problem(text: str) -> str:
    """Why an interface cannot have this address; empty if it can."""
    wrong = f"invalid address `{shown(text)}`: expected one with the length of its network, e.g. 10.0.0.1/24"
    if len(text) > MAX_ADDRESS or not text.isascii() or text.count("/") != 1:
        return wrong
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        return wrong
    address = interface.ip
    if "%" in text or address.is_multicast or address.is_unspecified or address.is_loopback:
        return f"{shown(text)} cannot be the address of a tap: it is no host's"
    network = interface.network
    if network.num_addresses > 2 and address.version == 4 and address in (network[0], network[-1]):
        return f"{shown(text)} cannot be the address of a tap: it stands for all of {network}"
    return ""


def begin_delete(turn: Turn, job: Job) -> Work | None:
    """Have one host tap removed, or all of the namespace."""
    table, name = turn.table, _delete(job).name
    if name == WILDCARD:
        names = tuple(tap.name for tap in table.taps.values() if tap.namespace == job.namespace)
    else:
        names = (name,)
        if refusal := _refusal(table, job.namespace, name):
            turn.fail(job, "not_found", refusal)
            return None
    return Work(jobs=[job], operation=Remove(taps=names, mirrors=mirrors_of(table, names)) if names else None)


def _refusal(table: NetworkTable, namespace: str, name: str) -> str:
    tap = table.taps.get(name)
    if tap is None:
        return f"not a host tap: {name}" if name in _ports(table) else f"unknown tap: {shown(name)}"
    return "" if tap.namespace == namespace else f"not a host tap in active namespace: {name}"


def finish_delete(turn: Turn, work: Work, outcome: Worked) -> None:
    """Forget those that are gone; the others may be deleted again."""
    (job,) = work.jobs
    errors: list[str] = []
    for name in work.operation.taps if isinstance(work.operation, Remove) else ():
        if error := failure(outcome, name):
            errors.append(error)
            continue
        forget_tap(turn, name, cause=job.msg_id)
    if job.refusal:
        turn.fail(job, "unavailable", "; ".join([job.refusal, *dict.fromkeys(errors)]))
        return
    turn.reply(job, InterfaceReport(errors=tuple(dict.fromkeys(errors))))


def host_tap(table: NetworkTable, tap: Tap) -> HostTap:
    """As it is shown."""
    mirror = table.mirrors.get(tap.name)
    return HostTap(
        name=tap.name,
        namespace=tap.namespace,
        bridge=tap.segment.bridge,
        vlan=tap.segment.vlan,
        address=tap.address,
        mirror_of=mirror.source if mirror is not None else "",
    )


def _create(job: Job) -> CreateTap:
    assert isinstance(job.body, CreateTap)  # noqa: S101 - for the type checker
    return job.body


def _delete(job: Job) -> DeleteTaps:
    assert isinstance(job.body, DeleteTaps)  # noqa: S101 - for the type checker
    return job.body
