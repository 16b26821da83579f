"""After the warden or this actor was away: what the warden lists decides how every open call went.

Nothing is guessed. A call whose effect shows is answered, one whose effect does not show is made again, a container
that nobody here knows is removed, and one that has vanished is reported with an exit nobody saw.
"""

from __future__ import annotations

from actors.container.state import (
    Call,
    ContainerTable,
    GuestState,
    Retry,
    Verb,
    after_removal,
    call_warden,
    removal,
    report,
    report_exit,
)
from bus.actor.step import Effect
from bus.messages.guest import GuestExit, GuestReport
from shims.container.protocol import ContainerStatus

_STATES = {
    "building": GuestState.BUILDING,
    "running": GuestState.RUNNING,
    "frozen": GuestState.PAUSED,
    "exited": GuestState.EXITED,
}
_REACHED = {Verb.START: GuestState.RUNNING, Verb.FREEZE: GuestState.PAUSED, Verb.KILL: GuestState.EXITED}


def reconcile(table: ContainerTable, containers: tuple[ContainerStatus, ...]) -> list[Effect]:
    """Compare the table with the warden's list; changes the table and returns what has to be done."""
    listed = {container.guest_id: container for container in containers}
    calls, table.calls = table.calls, {}
    effects: list[Effect] = []
    for name, call in calls.items():
        effects += _open_call(table, name, call, listed.get(call.vm_id))
    called = {call.vm_id for call in calls.values()}
    for vm_id, guest in table.guests.items():
        if vm_id not in called:
            effects += _compare(table, vm_id, guest.state, listed.get(vm_id))
    for vm_id, container in listed.items():
        if vm_id not in table.guests and vm_id not in called:
            effects += _remove(table, vm_id, container, None)
    return effects


def _open_call(table: ContainerTable, name: str, call: Call, container: ContainerStatus | None) -> list[Effect]:
    """An unanswered call: done, to be done again, or pointless by now."""
    guest = table.guests.get(call.vm_id)
    if not call.request:
        return _remove(table, call.vm_id, container, call.retry)
    if call.verb is Verb.CREATE:
        # Its console went down with whoever was away: the half-made container is removed and made anew.
        return _remove(table, call.vm_id, container, Retry(call=name, request=call.request))
    if container is None:
        gone = "" if call.verb in (Verb.KILL, Verb.FORGET) else "the container has vanished"
        if call.verb is Verb.FORGET:
            table.guests.pop(call.vm_id, None)
        effects = _compare(table, call.vm_id, guest.state, None) if guest is not None and gone else []
        if guest is not None and call.verb is Verb.KILL:
            guest.state = GuestState.EXITED
        return [*effects, *report(table, call.request, GuestReport(vm_id=call.vm_id, error=gone))]
    if _REACHED.get(call.verb) is _STATES[container.state]:
        effects = _compare(table, call.vm_id, _STATES[container.state], container)
        if guest is not None:
            guest.state = _STATES[container.state]
        return [*effects, *report(table, call.request, GuestReport(vm_id=call.vm_id, pid=container.pid))]
    return [call_warden(table, name, call.verb, call.vm_id, call.request)]


def _compare(table: ContainerTable, vm_id: int, state: GuestState, container: ContainerStatus | None) -> list[Effect]:
    guest = table.guests.get(vm_id)
    if guest is None or guest.exit is not None:
        return []
    if container is None and state is not GuestState.CREATING:
        return _note_exit(table, GuestExit(vm_id=vm_id, exit="unknown", clean=False, pid=guest.pid))
    if container is not None:
        guest.state, guest.pid = _STATES[container.state], container.pid
        if guest.state is GuestState.EXITED:
            return _note_exit(table, _exit_of(container))
    return []


def _exit_of(container: ContainerStatus) -> GuestExit:
    return GuestExit(
        vm_id=container.guest_id,
        exit=container.exit,
        clean=container.clean,
        oom_killed=container.oom_killed,
        pid=container.pid,
        message=container.message,
    )


def _note_exit(table: ContainerTable, exit_: GuestExit) -> list[Effect]:
    guest = table.guests[exit_.vm_id]
    guest.state, guest.exit = GuestState.EXITED, exit_
    return [report_exit(table, exit_)]


def _remove(table: ContainerTable, vm_id: int, container: ContainerStatus | None, retry: Retry | None) -> list[Effect]:
    if container is None:
        return after_removal(table, Call(verb=Verb.FORGET, vm_id=vm_id, retry=retry))
    verb = Verb.FORGET if container.state == "exited" else Verb.KILL
    return [removal(table, verb, vm_id, retry)]
