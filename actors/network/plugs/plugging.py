"""Interfaces of guests: made when a guest has been made, or while it lives."""

from __future__ import annotations

from collections.abc import Iterable

from actors.network.names import Names, mac_problem, new_bridges, segment_problem
from actors.network.operations import GuestPorts, Plug, Worked
from actors.network.plugs.occupied import Occupied
from actors.network.table import Guest, Job, NetworkTable, Nic, Work, failure, mirrors_between
from actors.network.turn import Turn
from bus.messages.network import (
    AddInterfaces,
    GuestNic,
    InterfaceReport,
    Netspec,
    Plugged,
    PlugGuests,
    PlugReport,
    Shaping,
)
from bus.messages.vlan import DISCONNECTED

MAX_INTERFACES = 64
"""Of one guest."""


def begin(turn: Turn, jobs: list[Job]) -> Work:
    """Give names and addresses to interfaces that are new, and have all made that a living guest lacks."""
    table = turn.table
    names, occupied = Names(table, turn.inp.seed), Occupied(table)
    work = Work(jobs=jobs)
    guests: list[GuestPorts] = []
    for one in _asked(jobs):
        known = table.guests.get(one.vm_id)
        further = isinstance(jobs[0].body, AddInterfaces)
        specs = (*one.configured, *one.networks) if known is None else one.networks if further else ()
        problem = _problem(one, specs, 0 if known is None else len(known.nics), further) or _bad_segment(table, specs)
        if problem:
            work.errors[str(one.vm_id)] = problem
            continue
        guest = known or Guest(vm_id=one.vm_id, name=one.name, namespace=one.namespace)
        pid = one.pid if not further else guest.pid or one.pid
        new = [_nic(spec, names) for spec in specs]
        wanted = [*guest.nics, *new] if pid else []
        if problem := occupied.claim(guest, wanted):
            work.errors[str(one.vm_id)] = problem
            continue
        if new:
            table.guests[one.vm_id] = guest
            guest.nics += new
            work.added[one.vm_id] = len(new)
        missing = [index for index, nic in enumerate(guest.nics) if not (further and nic.is_up)]
        if pid and missing:
            ports = tuple(guest.port(index, pid) for index in missing)
            guests.append(GuestPorts(vm_id=one.vm_id, pid=pid, ports=ports))
    if guests:
        work.operation = _operation(table, guests)
    return work


def _asked(jobs: list[Job]) -> Iterable[GuestNic]:
    """The guests that requests are about, each once."""
    found: dict[int, GuestNic] = {}
    for job in jobs:
        match job.body:
            case PlugGuests(guests=guests) | AddInterfaces(vms=guests):
                for guest in guests:
                    found.setdefault(guest.vm_id, guest)
            case _:
                raise TypeError(f"{type(job.body).__name__} makes no interfaces")
    return found.values()


def _problem(one: GuestNic, specs: tuple[Netspec, ...], present: int, further: bool) -> str:
    if present + len(specs) > MAX_INTERFACES:
        return f"{present + len(specs)} interfaces are too many for one VM: it can have {MAX_INTERFACES}"
    if one.pid < 0 or (one.pid == 0 and not further):
        return "it has no process whose network namespace an interface could be put into"
    return next((text for spec in specs if spec.mac and (text := mac_problem(spec.mac))), "")


def _bad_segment(table: NetworkTable, specs: tuple[Netspec, ...]) -> str:
    return next((text for spec in specs if (text := segment_problem(table, spec.bridge, spec.vlan))), "")


def _nic(spec: Netspec, names: Names) -> Nic:
    bridge = "" if spec.vlan == DISCONNECTED else spec.bridge
    mac = names.mac(spec.mac)
    return Nic(tap=names.tap(), bridge=bridge, vlan=spec.vlan, mac=mac, alias=spec.alias, driver=spec.driver)


def _operation(table: NetworkTable, guests: list[GuestPorts]) -> Plug:
    made = {port.name for guest in guests for port in guest.ports}
    bridges = {port.segment.bridge for guest in guests for port in guest.ports if port.segment is not None}
    return Plug(
        guests=tuple(guests),
        shapings={nic.tap: nic.shaping for _, _, nic in table.places() if nic.tap in made and nic.shaping != Shaping()},
        mirrors=tuple(
            (source, destination)
            for source, destination in mirrors_between(table, made)
            if source in made or destination in made
        ),
        new_bridges=new_bridges(table, bridges, besides=made),
    )


def finish_plug(turn: Turn, work: Work, outcome: Worked) -> None:
    """Answer with what each guest has got."""
    turn.table.revision += 1
    reports = _settle(turn, work, outcome)
    for job in work.jobs:
        guests = tuple(reports[guest.vm_id] for guest in _asked([job]))
        turn.reply(job, PlugReport(guests=guests))


def finish_add(turn: Turn, work: Work, outcome: Worked) -> None:
    """Answer with what went wrong."""
    reports = _settle(turn, work, outcome)
    names = {guest.vm_id: guest.name for guest in _asked(work.jobs)}
    errors = tuple(f"{names[vm_id]}: {one.error}" for vm_id, one in reports.items() if one.error)
    warnings = tuple(dict.fromkeys(text for one in reports.values() for text in one.warnings))
    turn.tell_vm([vm_id for vm_id, one in reports.items() if not one.error], cause=work.jobs[0].msg_id)
    turn.reply(work.jobs[0], InterfaceReport(errors=errors, warnings=warnings))


def _settle(turn: Turn, work: Work, outcome: Worked) -> dict[int, Plugged]:
    """Take the outcome into the table; returns it by VM."""
    operation = work.operation
    plugged = {one.vm_id: one for one in operation.guests} if isinstance(operation, Plug) else {}
    return {one.vm_id: _outcome(turn, work, outcome, one.vm_id, plugged.get(one.vm_id)) for one in _asked(work.jobs)}


def _outcome(turn: Turn, work: Work, outcome: Worked, vm_id: int, made: GuestPorts | None) -> Plugged:
    guests, key = turn.table.guests, str(vm_id)
    error = work.errors.get(key, "")
    if made is not None and (error := failure(outcome, key)):
        _take_back(guests[vm_id], made, work.added.get(vm_id, 0))
        if not guests[vm_id].nics:
            del guests[vm_id]
    guest = guests.get(vm_id)
    if error or guest is None:
        return Plugged(vm_id=vm_id, error=error)
    if made is not None:
        guest.pid, guest.ticks = made.pid, outcome.ticks.get(vm_id, 0)
        names = {port.name for port in made.ports}
        for index, nic in enumerate(guest.nics):
            if nic.tap in names:
                nic.is_up = True
                if nic.tap in outcome.errors:
                    nic.shaping = Shaping()
                if nic.segment is not None:
                    turn.nic_changed(guest, index, cause=work.jobs[0].msg_id)
    return Plugged(
        vm_id=vm_id,
        taps=tuple(nic.tap for nic in guest.nics),
        macs=tuple(nic.mac for nic in guest.nics),
        networks=tuple(nic.spec for nic in guest.nics),
        revision=turn.table.revision,
        warnings=outcome.warnings.get(key, ()),
    )


def _take_back(guest: Guest, made: GuestPorts, added: int) -> None:
    """None of these interfaces could be made: those that are new are forgotten."""
    names = {port.name for port in made.ports}
    for nic in guest.nics:
        nic.is_up &= nic.tap not in names
    del guest.nics[len(guest.nics) - added :]
    if not any(nic.is_up for nic in guest.nics):
        guest.pid = guest.ticks = 0
