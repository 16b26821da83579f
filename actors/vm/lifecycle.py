"""Start, stop, kill, flush: what a command means for a VM when its turn comes, and what follows a driver's answer."""

from __future__ import annotations

from actors.vm import transitions, wires
from actors.vm.table import Call, Job, Phase, Verb, VmRecord, Wires, Work, not_found, state_error
from actors.vm.turn import NETWORK_PHASES, Turn
from bus.language.vm_names import VmNameError, parse_target
from bus.messages.guest import GuestConsole, GuestExit, GuestReport
from bus.messages.vm import VmResult, VmState

GOALS = {
    Verb.START: {VmState.RUNNING},
    Verb.STOP: {VmState.PAUSED},
    Verb.KILL: {VmState.QUIT, VmState.ERROR},
    Verb.FLUSH: set[VmState](),
    Verb.LAUNCH: set[VmState](),
}
"""What a command wants; reached by another one while it waited, it has succeeded."""


def command(turn: Turn, msg_id: str, namespace: str, verb: Verb, text: str) -> None:
    """Take up a command for the VMs that its target text means."""
    try:
        target = parse_target(text)
    except VmNameError as error:
        turn.fail(msg_id, "invalid", str(error))
        return
    found, missing = turn.table.matching(namespace, target)
    job = Job(namespace=namespace, wild=target.wild, single=target.single, open=len(found))
    job.errors = [not_found(item) for item in missing]
    turn.table.jobs[msg_id] = job
    for vm in found:
        vm.waiting.append(Work(job=msg_id, verb=verb, seen=vm.state))
    for vm in found:
        take_up(turn, vm)
    if not found:
        turn.settle(msg_id)


def take_up(turn: Turn, vm: VmRecord) -> None:
    """Turn to the work that waits, until something takes time."""
    while vm.phase is Phase.IDLE and vm.waiting:
        vm.work = vm.waiting.pop(0)
        _judge(turn, vm, vm.work)


def _judge(turn: Turn, vm: VmRecord, work: Work) -> None:
    wild = turn.table.jobs[work.job].wild
    match work.verb, vm.state:
        case Verb.START, VmState.BUILDING | VmState.PAUSED:
            turn.enter(vm, Phase.STARTING)
        case (Verb.START, VmState.QUIT | VmState.ERROR) if not wild:
            _clear_away(turn, vm)
        case Verb.STOP, VmState.RUNNING:
            turn.enter(vm, Phase.PAUSING)
        case Verb.KILL, VmState.BUILDING | VmState.RUNNING | VmState.PAUSED:
            turn.enter(vm, Phase.KILLING)
        case Verb.FLUSH, VmState.QUIT | VmState.ERROR:
            _clear_away(turn, vm)
        case verb, state if state in GOALS[verb] and work.seen is not state:
            done(turn, vm)
        case _:
            _refuse(turn, vm, work)


def _clear_away(turn: Turn, vm: VmRecord) -> None:
    """Rid the driver of the old guest: first step of a relaunch and of a flush."""
    turn.enter(vm, Phase.DISCARDING if vm.doubtful else Phase.FORGETTING)


def _refuse(turn: Turn, vm: VmRecord, work: Work) -> None:
    """The state does not allow it: an error for a single VM, otherwise nothing."""
    if turn.table.jobs[work.job].single:
        done(turn, vm, state_error(vm))
    else:
        _close(turn, vm, None)


def done(turn: Turn, vm: VmRecord, error: str = "") -> None:
    """The work on a VM has come to its end; an error is one sentence."""
    result = VmResult(name=vm.name, vm_id=vm.vm_id, error=error, host=turn.table.host)
    _close(turn, vm, result)


def _close(turn: Turn, vm: VmRecord, result: VmResult | None) -> None:
    if vm.work is None:
        raise ValueError(f"vm {vm.vm_id} has no work that could end")
    job_id, vm.work = vm.work.job, None
    turn.enter(vm, Phase.IDLE)
    job = turn.table.jobs[job_id]
    job.open -= 1
    if result is not None:
        job.results.append(result)
    turn.settle(job_id)


# --- what comes back


def reported(turn: Turn, call: Call, reports: tuple[GuestReport, ...]) -> None:
    """A driver, or `network`, has answered for the VMs of a call."""
    by_id = {report.vm_id: report for report in reports}
    for vm_id in call.vm_ids:
        vm = turn.table.vms[vm_id]
        report = by_id.get(vm_id) or GuestReport(vm_id=vm_id, error=f"no word about it after {call.phase}")
        _follow(turn, vm, call.phase, report)
        take_up(turn, vm)


def unanswered(turn: Turn, call: Call, message: str) -> None:
    """Nobody has answered, and what was done is unknown."""
    for vm_id in call.vm_ids:
        vm = turn.table.vms[vm_id]
        if call.phase is Phase.CREATING:
            vm.failure = message
            turn.enter(vm, Phase.DISCARDING)
        else:
            _follow(turn, vm, call.phase, GuestReport(vm_id=vm_id, error=message))
            take_up(turn, vm)
            if call.phase not in NETWORK_PHASES:
                turn.audit(vm.kind)


def _follow(turn: Turn, vm: VmRecord, phase: Phase, report: GuestReport) -> None:
    match phase:
        case Phase.CREATING:
            _created(turn, vm, report)
        case Phase.PLUGGING:
            _plugged(turn, vm, report)
        case Phase.DISCARDING:
            _discarded(turn, vm, report.error)
        case Phase.STARTING | Phase.PAUSING | Phase.KILLING:
            _changed(turn, vm, phase, report.error)
        case Phase.UNPLUGGING:
            _unplugged(turn, vm, report.error)
        case Phase.FORGETTING:
            _forgotten(turn, vm, report.error)
        case Phase.UNWIRING:
            _unwired(turn, vm, report.error)
        case _:
            raise ValueError(f"nobody answers for {phase}")


def _created(turn: Turn, vm: VmRecord, report: GuestReport) -> None:
    if report.error:
        vm.early_exits = []
        give_up(turn, vm, report.error)
        return
    turn.warn(vm, report.warnings)
    vm.pid, vm.console_port = report.pid, report.console_port
    if vm.has_interfaces:
        wires.plug(turn, vm)
    else:
        _complete(turn, vm)


def _plugged(turn: Turn, vm: VmRecord, report: GuestReport) -> None:
    turn.warn(vm, report.warnings)
    if not report.error:
        _complete(turn, vm)
        return
    # A guest that has ended has no interfaces either, but that is not what went wrong.
    ended = _early_exit(vm)
    vm.failure = transitions.exit_sentence(vm, ended) if ended else report.error
    turn.enter(vm, Phase.DISCARDING)


def _early_exit(vm: VmRecord) -> GuestExit | None:
    """How the guest that was just made has ended already, if it has."""
    exits, vm.early_exits = vm.early_exits, []
    return next((exit_ for exit_ in exits if exit_.pid == vm.pid), None)


def _complete(turn: Turn, vm: VmRecord) -> None:
    """Nothing of the new guest is missing."""
    transitions.built(turn, vm)
    ended = _early_exit(vm)
    if ended is not None:
        transitions.exited(turn, vm, ended)
        done(turn, vm, f"{vm.name}: {transitions.exit_sentence(vm, ended)}")
        wires.release(turn, vm)
    elif vm.work is not None and vm.work.verb is Verb.START:
        turn.enter(vm, Phase.STARTING)
    else:
        done(turn, vm)


def give_up(turn: Turn, vm: VmRecord, error: str) -> None:
    """The guest could not be made: ERROR, and the command says why."""
    transitions.failed(turn, vm, error)
    done(turn, vm, f"{vm.name}: {error}")


def _discarded(turn: Turn, vm: VmRecord, error: str) -> None:
    vm.doubtful = bool(error)
    if vm.failure:
        failure, vm.failure = vm.failure, ""
        give_up(turn, vm, failure)
        wires.release(turn, vm)
    elif error:
        done(turn, vm, f"{vm.name}: {error}")
    else:
        turn.enter(vm, Phase.FORGETTING)


def _changed(turn: Turn, vm: VmRecord, phase: Phase, error: str) -> None:
    """A live guest was to change. If it refused it stays what it was, so that it can still be killed.

    It may have refused because it is not what it was believed to be: its driver is asked.
    """
    if error:
        done(turn, vm, f"{vm.name}: {error}")
        wires.release(turn, vm)
        turn.audit(vm.kind)
        return
    if vm.live:  # otherwise its end was reported first
        match phase:
            case Phase.STARTING:
                transitions.runs(turn, vm)
            case Phase.PAUSING:
                transitions.paused(turn, vm)
            case _:
                transitions.quit_(turn, vm)
    if not wires.release(turn, vm):
        done(turn, vm)


def _unplugged(turn: Turn, vm: VmRecord, error: str) -> None:
    """Devices that stayed are no failure of what ended the guest: they are removed at the relaunch or the flush."""
    if error:
        turn.warn(vm, [f"{vm.name}: {error}"])
    else:
        vm.wires = Wires.KEPT
    if vm.work is not None:
        done(turn, vm)
    else:
        turn.enter(vm, Phase.IDLE)


def _forgotten(turn: Turn, vm: VmRecord, error: str) -> None:
    vm.doubtful = bool(error)
    if error:
        give_up(turn, vm, error)
    elif vm.work is not None and vm.work.verb is Verb.FLUSH:
        turn.enter(vm, Phase.REMOVING if vm.wires is Wires.NONE else Phase.UNWIRING)
    else:
        turn.enter(vm, Phase.CREATING)


def _unwired(turn: Turn, vm: VmRecord, error: str) -> None:
    if error:
        give_up(turn, vm, error)
    else:
        vm.wires = Wires.NONE
        turn.enter(vm, Phase.REMOVING)


def removed(turn: Turn, vm: VmRecord, error: str) -> None:
    """The instance directory is gone, or not."""
    if error:
        give_up(turn, vm, error)
        take_up(turn, vm)
        return
    transitions.flushed(turn, vm)
    done(turn, vm)
    for work in vm.waiting:
        vm.work = work
        if turn.table.jobs[work.job].single and work.verb is not Verb.FLUSH:
            done(turn, vm, not_found(vm.name))
        else:
            _close(turn, vm, None)


def console_moved(turn: Turn, console: GuestConsole) -> None:
    """A driver serves a console at another port than before."""
    vm = turn.table.vms.get(console.vm_id)
    if vm is not None and vm.pid and vm.pid == console.pid:
        vm.console_port = console.port


# --- ends that nobody asked for


def exit_reported(turn: Turn, exit_: GuestExit) -> None:
    """A driver says that a guest has ended. What is no news, or about an earlier guest of the VM, changes nothing."""
    vm = turn.table.vms.get(exit_.vm_id)
    if vm is None:
        return
    if vm.phase in (Phase.CREATING, Phase.PLUGGING):
        if exit_.pid:
            vm.early_exits.append(exit_)
        return
    earlier = exit_.pid and vm.pid and exit_.pid != vm.pid
    if vm.live and vm.phase is not Phase.PREPARING and vm.phase is not Phase.DISCARDING and not earlier:
        transitions.exited(turn, vm, exit_)
        if vm.phase is Phase.IDLE:
            wires.release(turn, vm)
