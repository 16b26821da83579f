"""Changes of a VM's state, each with its state file and its event."""

from __future__ import annotations

from typing import Any, TypeVar

from actors.vm.table import ERROR_TAG, Phase, VmRecord
from actors.vm.turn import Turn
from bus.messages.guest import GuestExit
from bus.messages.vm import VmEvent, VmFailed, VmFlushed, VmLaunched, VmQuit, VmStarted, VmState, VmStopped, VmTagged

UNKNOWN_EXIT = "unknown"

E = TypeVar("E", bound=VmEvent)


def _event(klass: type[E], vm: VmRecord, **more: Any) -> E:
    return klass(vm_id=vm.vm_id, name=vm.name, uuid=vm.uuid, kind=vm.kind, state=vm.state, pid=vm.pid, **more)


def _enter_state(turn: Turn, vm: VmRecord, state: VmState) -> None:
    vm.revision += 1
    if vm.state is not state:
        vm.state = state
        turn.state_changed(vm)


def built(turn: Turn, vm: VmRecord) -> None:
    """The guest exists, with all that belongs to it, and waits."""
    vm.launched_s = turn.inp.boot_s
    vm.ended_s = 0.0
    turn.link(vm)
    _enter_state(turn, vm, VmState.BUILDING)
    turn.publish(vm, "launched", _event(VmLaunched, vm))


def runs(turn: Turn, vm: VmRecord) -> None:
    """The guest runs; what went wrong before is forgiven."""
    vm.tags.pop(ERROR_TAG, None)
    _enter_state(turn, vm, VmState.RUNNING)
    turn.publish(vm, "started", _event(VmStarted, vm))


def paused(turn: Turn, vm: VmRecord) -> None:
    """The guest stands still."""
    _enter_state(turn, vm, VmState.PAUSED)
    turn.publish(vm, "stopped", _event(VmStopped, vm))


def _ended(turn: Turn, vm: VmRecord, state: VmState) -> None:
    if vm.live:
        vm.ended_s = turn.inp.boot_s
    vm.pid = vm.console_port = 0
    turn.link(vm)
    _enter_state(turn, vm, state)


def quit_(turn: Turn, vm: VmRecord) -> None:
    """The guest was killed, or ended well."""
    _ended(turn, vm, VmState.QUIT)
    turn.publish(vm, "quit", _event(VmQuit, vm))


def failed(turn: Turn, vm: VmRecord, error: str) -> None:
    """There is no guest, and the error says why."""
    _ended(turn, vm, VmState.ERROR)
    vm.tags[ERROR_TAG] = error
    turn.publish(vm, "failed", _event(VmFailed, vm, error=error))


def flushed(turn: Turn, vm: VmRecord) -> None:
    """The record goes, and with it all that belonged to the VM."""
    del turn.table.vms[vm.vm_id]
    turn.publish(vm, "flushed", _event(VmFlushed, vm))


def tagged(turn: Turn, vm: VmRecord, *, cause: str) -> None:
    """Tags have changed."""
    turn.publish(vm, "tagged", _event(VmTagged, vm, tags=dict(vm.tags)), cause=cause)


def exited(turn: Turn, vm: VmRecord, exit_: GuestExit) -> None:
    """The guest of a live VM ended by itself, or while it was being killed."""
    if vm.phase is Phase.STARTING:
        # Its end overtook the news of its start, which the driver must have brought about.
        runs(turn, vm)
    if exit_.clean or exit_.exit == UNKNOWN_EXIT or vm.phase is Phase.KILLING:
        quit_(turn, vm)
    else:
        failed(turn, vm, exit_sentence(vm, exit_))


def exit_sentence(vm: VmRecord, exit_: GuestExit) -> str:
    """Why a VM is in ERROR after its guest ended."""
    sentence = f"killed {vm.kind.value}: {exit_.exit}"
    if exit_.oom_killed:
        sentence += f", out of memory (limit {vm.config.memory_mib} MiB)"
    if exit_.message:
        sentence += f": {exit_.message}"
    return sentence
