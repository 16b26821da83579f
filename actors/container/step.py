"""The step of the container actor: requests, answers of the warden, exits."""

from __future__ import annotations

import msgspec

from actors.container.reconcile import reconcile
from actors.container.state import (
    Call,
    ConsolesMoved,
    ContainerTable,
    DropConsole,
    Guest,
    GuestState,
    Verb,
    Waiting,
    WardenAnswered,
    WardenConnected,
    WardenExited,
    after_removal,
    call_warden,
    container_spec,
    finish_if_done,
    is_being_removed,
    report,
    report_consoles,
    report_exit,
)
from bus.actor.step import AskFailed, Effect, Input, Received, not_understood
from bus.messages.guest import (
    CreateGuests,
    ForgetGuests,
    GuestExit,
    GuestReport,
    GuestSpec,
    KillGuests,
    PauseGuests,
    StartGuests,
)

NO_CONTAINER = "there is no such container"


def step(table: ContainerTable, inp: Input) -> list[Effect]:
    """From one input to its effects; changes `table`."""
    match inp:
        case Received(msg_id=msg_id, body=CreateGuests(guests=guests)):
            return _create(table, msg_id, guests)
        case Received(msg_id=msg_id, body=StartGuests(vm_ids=vm_ids)):
            return _order(table, msg_id, Verb.START, vm_ids)
        case Received(msg_id=msg_id, body=PauseGuests(vm_ids=vm_ids)):
            return _order(table, msg_id, Verb.FREEZE, vm_ids)
        case Received(msg_id=msg_id, body=KillGuests(vm_ids=vm_ids)):
            return _order(table, msg_id, Verb.KILL, vm_ids)
        case Received(msg_id=msg_id, body=ForgetGuests(vm_ids=vm_ids)):
            return _order(table, msg_id, Verb.FORGET, vm_ids)
        case Received():
            return [not_understood("container", inp)]
        case WardenAnswered(call=call):
            return _answered(table, call, inp)
        case WardenExited(exit=exit_):
            return _exited(table, exit_)
        case ConsolesMoved(ports=ports):
            return _moved(table, ports)
        case WardenConnected(containers=containers):
            return reconcile(table, containers)
        case AskFailed():
            return _report_again(table, inp)
        case _:
            return []


def _create(table: ContainerTable, msg_id: str, guests: tuple[GuestSpec, ...]) -> list[Effect]:
    waiting = table.requests[msg_id] = Waiting(open_calls=len(guests))
    effects: list[Effect] = []
    for guest in guests:
        if guest.vm_id in table.guests:
            waiting.open_calls -= 1
            waiting.reports.append(GuestReport(vm_id=guest.vm_id, error=f"container {guest.vm_id} exists already"))
            continue
        table.guests[guest.vm_id] = Guest(spec=container_spec(guest, table.tag), namespace=guest.namespace)
        effects.append(call_warden(table, f"{msg_id}/{guest.vm_id}", Verb.CREATE, guest.vm_id, msg_id))
    return effects + finish_if_done(table, msg_id)


def _order(table: ContainerTable, msg_id: str, verb: Verb, vm_ids: tuple[int, ...]) -> list[Effect]:
    """One call per guest; what is so already is reported at once."""
    waiting = table.requests[msg_id] = Waiting(open_calls=len(vm_ids))
    effects: list[Effect] = []
    for vm_id in vm_ids:
        settled = _settled(table, verb, vm_id)
        if settled is None:
            effects.append(call_warden(table, f"{msg_id}/{vm_id}", verb, vm_id, msg_id))
            continue
        waiting.open_calls -= 1
        waiting.reports.append(settled)
    return effects + finish_if_done(table, msg_id)


def _settled(table: ContainerTable, verb: Verb, vm_id: int) -> GuestReport | None:
    guest = table.guests.get(vm_id)
    ended = guest is None or guest.state is GuestState.EXITED
    match verb:
        case Verb.KILL if ended:
            return GuestReport(vm_id=vm_id)
        case Verb.FORGET if guest is None:
            return GuestReport(vm_id=vm_id)
        case Verb.START | Verb.FREEZE if ended:
            return GuestReport(vm_id=vm_id, error=guest.exit.exit if guest and guest.exit else NO_CONTAINER)
        case _:
            return None


def _answered(table: ContainerTable, name: str, answer: WardenAnswered) -> list[Effect]:
    call = table.calls.pop(name, None)
    if call is None:
        return []
    if not call.request:
        return after_removal(table, call)
    row = GuestReport(
        vm_id=call.vm_id,
        pid=answer.pid,
        error=answer.error,
        warnings=answer.warnings,
        console_port=answer.console_port,
    )
    return [*_settle(table, call, answer), *report(table, call.request, row)]


def _settle(table: ContainerTable, call: Call, answer: WardenAnswered) -> list[Effect]:
    """What an answered call does to the guest."""
    guest = table.guests.get(call.vm_id)
    if guest is None:
        return []
    if answer.error:
        if call.verb is Verb.CREATE:
            del table.guests[call.vm_id]
            return [DropConsole(vm_id=call.vm_id)]
        return []
    match call.verb:
        case Verb.CREATE:
            guest.pid, guest.console_port = answer.pid, answer.console_port
            if guest.state is GuestState.CREATING:
                guest.state = GuestState.BUILDING
        case Verb.START if guest.state is not GuestState.EXITED:
            guest.state = GuestState.RUNNING
        case Verb.FREEZE if guest.state is not GuestState.EXITED:
            guest.state = GuestState.PAUSED
        case Verb.KILL:
            guest.state = GuestState.EXITED
        case Verb.FORGET:
            del table.guests[call.vm_id]
            return [DropConsole(vm_id=call.vm_id)]
        case _:
            pass
    return []


def _exited(table: ContainerTable, exit_: GuestExit) -> list[Effect]:
    """An init has ended: whoever kills it learns it from that answer, otherwise the `vm` actor is told."""
    guest = table.guests.get(exit_.vm_id)
    if guest is None or guest.exit is not None or is_being_removed(table, exit_.vm_id):
        return []
    exit_ = msgspec.structs.replace(exit_, pid=guest.pid)
    guest.state, guest.exit = GuestState.EXITED, exit_
    if any(call.vm_id == exit_.vm_id and call.verb is Verb.KILL for call in table.calls.values()):
        return []
    return [report_exit(table, exit_)]


def _moved(table: ContainerTable, ports: dict[int, int]) -> list[Effect]:
    moved = [vm_id for vm_id in ports if vm_id in table.guests]
    for vm_id in moved:
        table.guests[vm_id].console_port = ports[vm_id]
    return [report_consoles(table, moved)] if moved else []


def _report_again(table: ContainerTable, ask: AskFailed) -> list[Effect]:
    """What the `vm` actor has not taken: as it is now."""
    if ask.tag.startswith("consoles/"):
        return [report_consoles(table, table.guests)]
    vm_id = int(ask.tag.split("/")[1])
    guest = table.guests.get(vm_id)
    return [report_exit(table, guest.exit)] if guest is not None and guest.exit is not None else []
