"""Does operations with a fabric; runs in the one thread that is in minibus's network namespace.

What goes wrong is part of the outcome, one sentence each; nothing but a bug raises.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from actors.network.audit import Picture, Plan, compare
from actors.network.names import TAP_PREFIX, no_bridge_of_ours
from actors.network.operations import (
    AddTap,
    AnyOperation,
    Audit,
    Mirror,
    Move,
    Plug,
    Remove,
    Repair,
    Shape,
    Trunk,
    Unmirror,
    Untrunk,
    Worked,
)
from bus.messages.network import Shaping
from shims.linux.process import start_ticks
from shims.network.base import Fabric, FabricError, HostPort, Segment

UNAVAILABLE = "unavailable"
MISSING = "it was missing, and has been made again"
STRANGE = "nobody knew it, and it has been removed"


def work(fabric: Fabric, number: int, operation: AnyOperation, wanted: Picture) -> Worked:
    """Do an operation; `wanted` is what should exist besides it."""
    match operation:
        case Plug():
            return _plug(fabric, number, operation)
        case Remove(taps=taps, mirrors=mirrors):
            return Worked(number=number, errors=_remove(fabric, taps, mirrors))
        case Move():
            return _move(fabric, number, operation)
        case Shape(shapings=shapings):
            return _shape(fabric, number, shapings)
        case AddTap():
            return _add_tap(fabric, number, operation)
        case Mirror(source=source, destination=destination):
            return _one(number, lambda: fabric.mirror(source, destination))
        case Unmirror(destinations=destinations):
            ended = {name: _problem(fabric.unmirror, name) for name in destinations}
            return Worked(number=number, errors={name: problem for name, problem in ended.items() if problem})
        case Trunk():
            return _trunk(fabric, number, operation)
        case Untrunk(bridge=bridge, interface=interface):
            return _one(number, lambda: fabric.untrunk(bridge, interface))
        case Audit():
            return audit(fabric, number, wanted)


def _one(number: int, call: Callable[[], None]) -> Worked:
    problem = _problem(call)
    return Worked(number=number, failed=problem, code=UNAVAILABLE if problem else "")


def _problem(call: Callable[..., object], *args: object) -> str:
    """Call; returns why it did not work, empty if it did."""
    try:
        call(*args)
    except FabricError as error:
        return str(error) or "the kernel refused, and does not say why"
    return ""


def _foreign(fabric: Fabric, names: Iterable[str]) -> dict[str, str]:
    """Bridges that cannot be ours, with the sentence for each."""
    return {name: no_bridge_of_ours(name) for name in names if fabric.name_taken(name)}


# ---------------------------------------------------------------- interfaces of guests


def _plug(fabric: Fabric, number: int, operation: Plug) -> Worked:
    """All interfaces of a guest, or none of them."""
    foreign = _foreign(fabric, operation.new_bridges)
    errors: dict[str, str] = {}
    ticks: dict[int, int] = {}
    for guest in operation.guests:
        bridges = [port.segment.bridge for port in guest.ports if port.segment is not None]
        started = start_ticks(guest.pid)
        problem = next((foreign[name] for name in bridges if name in foreign), "")
        if problem := problem or ("" if started else "it ended before its interfaces could be made"):
            errors[str(guest.vm_id)] = problem
        else:
            ticks[guest.vm_id] = started
    going = [guest for guest in operation.guests if guest.vm_id in ticks]
    try:
        failed = fabric.add_ports([port for guest in going for port in guest.ports]) if going else {}
    except FabricError as error:
        failed = {port.name: str(error) for guest in going for port in guest.ports}
    half_made: list[str] = []
    for guest in going:
        if problem := next((failed[port.name] for port in guest.ports if port.name in failed), ""):
            errors[str(guest.vm_id)] = problem
            half_made += [port.name for port in guest.ports if port.name not in failed]
    if half_made:
        _remove(fabric, half_made, ())
    warnings = _finish_ports(fabric, operation, errors)
    return Worked(number=number, errors=errors, warnings=warnings, ticks=ticks)


def _finish_ports(fabric: Fabric, operation: Plug, errors: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Give new interfaces back what they had before: it is no reason for failing if that does not work."""
    owners = {
        port.name: str(guest.vm_id)
        for guest in operation.guests
        if str(guest.vm_id) not in errors
        for port in guest.ports
    }
    warnings: dict[str, list[str]] = {}
    for tap, shaping in operation.shapings.items():
        if tap in owners:
            try:
                known = fabric.shape(tap, shaping)
            except FabricError as error:
                errors[tap] = str(error)
                known = [f"the traffic of {tap} is not shaped: {error}"]
            warnings.setdefault(owners[tap], []).extend(known)
    for source, destination in operation.mirrors:
        owner = owners.get(source) or owners.get(destination)
        if owner is not None and (problem := _problem(fabric.mirror, source, destination)):
            warnings.setdefault(owner, []).append(f"{source} is not mirrored: {problem}")
    return {key: tuple(texts) for key, texts in warnings.items() if texts}


def _remove(fabric: Fabric, taps: Iterable[str], mirrors: Iterable[str]) -> dict[str, str]:
    """Together, because that is quick; one by one if that does not work. Returns the errors by tap."""
    for destination in mirrors:
        _problem(fabric.unmirror, destination)  # if it stays, it ends with its tap
    names = list(taps)
    if not names or not _problem(fabric.remove_ports, names):
        return {}
    errors = {name: _problem(fabric.remove_ports, [name]) for name in names}
    return {name: problem for name, problem in errors.items() if problem}


def _move(fabric: Fabric, number: int, operation: Move) -> Worked:
    foreign = _foreign(fabric, operation.new_bridges)
    errors: dict[str, str] = {}
    for tap, segment in zip(operation.taps, operation.segments, strict=True):
        problem = foreign.get(segment.bridge, "") if segment is not None else ""
        if problem := problem or _problem(fabric.plug, tap, segment):
            errors[tap] = problem
    for destination in operation.mirrors:
        _problem(fabric.unmirror, destination)  # one that stays is a stranger to the next audit
    return Worked(number=number, errors=errors)


def _shape(fabric: Fabric, number: int, shapings: dict[str, Shaping]) -> Worked:
    errors: dict[str, str] = {}
    warnings: dict[str, tuple[str, ...]] = {}
    for tap, shaping in shapings.items():
        try:
            lacks = fabric.shape(tap, shaping)
        except FabricError as error:
            errors[tap] = str(error)
            continue
        if lacks:
            warnings[tap] = tuple(lacks)
    return Worked(number=number, errors=errors, warnings=warnings)


# ---------------------------------------------------------------- the host's


def _add_tap(fabric: Fabric, number: int, operation: AddTap) -> Worked:
    if foreign := _foreign(fabric, operation.new_bridges):
        return Worked(number=number, failed=next(iter(foreign.values())), code="conflict")
    if operation.name and fabric.name_taken(operation.name):
        return Worked(number=number, failed=f"this host has an interface {operation.name} already", code="conflict")
    name = operation.name or _free_name(fabric, operation)
    port = HostPort(name=name, segment=operation.segment, addresses=operation.addresses)
    problem = _problem(fabric.add_host_port, port)
    return Worked(number=number, failed=problem, code=UNAVAILABLE if problem else "", name=name)


def _free_name(fabric: Fabric, operation: AddTap) -> str:
    names = (f"{TAP_PREFIX}{count}" for count in itertools.count(operation.number))
    return next(name for name in names if name not in operation.taken and not fabric.name_taken(name))


def _trunk(fabric: Fabric, number: int, operation: Trunk) -> Worked:
    interface = operation.interface
    if foreign := _foreign(fabric, operation.new_bridges):
        return Worked(number=number, failed=next(iter(foreign.values())), code="conflict")
    if not fabric.name_taken(interface):
        return Worked(number=number, failed=f"this host has no interface {interface}", code="not_found")
    if not operation.force and fabric.carries_default_route(interface):
        sentence = (
            f"this host reaches the world through {interface}, and would not any more; `force` does it nevertheless"
        )
        return Worked(number=number, failed=sentence, code="conflict")
    return _one(number, lambda: fabric.trunk(operation.bridge, interface, operation.force))


# ---------------------------------------------------------------- audits


def audit(fabric: Fabric, number: int, wanted: Picture) -> Worked:
    """Look whether all that should exist does, and mend it; errors are by tap."""
    try:
        survey = fabric.survey()
    except FabricError as error:
        return Worked(number=number, failed=str(error), code=UNAVAILABLE)
    living = frozenset(vm_id for vm_id, (pid, ticks) in wanted.processes.items() if start_ticks(pid) == ticks != 0)
    plan = compare(wanted, survey, living)
    repairs: list[Repair] = []
    errors = _remove(fabric, plan.remove, plan.unmirror)
    repairs += [
        Repair(name, STRANGE) for name in plan.remove if name not in errors and name not in _of(wanted, plan.lost)
    ]
    for bridge, interface in plan.untrunk:
        _note(repairs, errors, interface, STRANGE, _problem(fabric.untrunk, bridge, interface))
    _make_again(fabric, plan, repairs, errors)
    for name, segment in plan.move:
        _note(
            repairs,
            errors,
            name,
            f"it was plugged in elsewhere, and is {_where(segment)} again",
            _problem(fabric.plug, name, segment),
        )
    for bridge, interface in plan.trunk:
        _note(repairs, errors, interface, MISSING, _problem(fabric.trunk, bridge, interface, True))
    _dress(fabric, wanted, plan, repairs, errors)
    return Worked(number=number, errors=errors, repairs=tuple(repairs), lost=plan.lost)


def _of(wanted: Picture, lost: Iterable[int]) -> set[str]:
    gone = set(lost)
    return {name for name, (vm_id, _) in wanted.ports.items() if vm_id in gone}


def _make_again(fabric: Fabric, plan: Plan, repairs: list[Repair], errors: dict[str, str]) -> None:
    try:
        failed = fabric.add_ports(list(plan.add_ports)) if plan.add_ports else {}
    except FabricError as error:
        failed = {port.name: str(error) for port in plan.add_ports}
    for port in plan.add_ports:
        _note(repairs, errors, port.name, MISSING, failed.get(port.name, ""))
    for tap in plan.add_taps:
        _note(repairs, errors, tap.name, MISSING, _problem(fabric.add_host_port, tap))


def _note(repairs: list[Repair], errors: dict[str, str], name: str, what: str, problem: str) -> None:
    if problem:
        errors[name] = problem
    else:
        repairs.append(Repair(name, what))


def _where(segment: Segment | None) -> str:
    return "nowhere" if segment is None else f"in VLAN {segment.vlan} of {segment.bridge}"


def _dress(fabric: Fabric, wanted: Picture, plan: Plan, repairs: list[Repair], errors: dict[str, str]) -> None:
    """Constraints of what was made again, and mirrors."""
    for tap in plan.made & wanted.shapings.keys():
        if tap not in errors and (problem := _problem(fabric.shape, tap, wanted.shapings[tap])):
            errors[tap] = problem
    for source, destination in plan.mirror:
        what = f"it was not copied to {destination} any more, and is again"
        _note(repairs, errors, source, what, _problem(fabric.mirror, source, destination))
